/**
 * What the page's scripts make of log-probabilities, outside of a browser.
 *
 *     node decode.mjs FOLDER LOG_PROBS.f32 CHUNK
 *
 * FOLDER is an exported page; LOG_PROBS holds utterances, each as its number of frames, as a
 * float, and its frames; CHUNK frames go in at once. Prints JSON: for each utterance its finals,
 * and every partial as [text, stable].
 */

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { gunzipSync } from "node:zlib";

const [folder, file, chunk] = process.argv.slice(2);
/** @param {string} name */
const script = (name) => import(pathToFileURL(`${folder}/${name}`).href);
const { Graph } = await script("search.js");
const { Segmenter } = await script("recognizer.js");

/** @param {Buffer} buffer */
const copy = (buffer) => new Uint8Array(buffer).buffer;
const settings = JSON.parse(readFileSync(`${folder}/settings.json`, "utf8"));
const packed = readFileSync(`${folder}/${settings.files.graph[0]}`);
const graph = new Graph(settings.graph, copy(gunzipSync(packed)), settings.tokens);
const numbers = new Float32Array(copy(readFileSync(file)));
const size = settings.tokens.length;

const answers = [];
const began = performance.now();
for (let at = 0; at < numbers.length; ) {
  const logProbs = numbers.subarray(at + 1, at + 1 + numbers[at] * size);
  at += 1 + logProbs.length;
  const segmenter = new Segmenter(settings, graph);
  const finals = [];
  const partials = [];
  for (let begin = 0; begin < logProbs.length; begin += chunk * size) {
    const heard = segmenter.step(logProbs.subarray(begin, begin + chunk * size));
    finals.push(...heard.finals);
    partials.push([heard.text, heard.stable]);
  }
  finals.push(...segmenter.flush().finals);
  answers.push({ finals, partials });
}
process.stderr.write(`${((performance.now() - began) / 1000).toFixed(3)} s\n`);
process.stdout.write(JSON.stringify(answers));
