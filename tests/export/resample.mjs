/**
 * What the page's resampler gives.
 *
 *     node resample.mjs FOLDER SAMPLES.f32 RATE CUT > RESAMPLED.f32
 */

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [folder, file, rate, cut] = process.argv.slice(2);
const { Resampler } = await import(pathToFileURL(`${folder}/recognizer.js`).href);
const samples = new Float32Array(new Uint8Array(readFileSync(file)).buffer);
const resampler = new Resampler(Number(rate), 16000);
for (let begin = 0; begin < samples.length; begin += Number(cut)) {
  const end = begin + Number(cut);
  process.stdout.write(new Uint8Array(resampler.step(samples.slice(begin, end)).buffer));
}
process.stdout.write(new Uint8Array(resampler.flush().buffer));
