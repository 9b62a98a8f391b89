/**
 * From audio to words, in a worker: resampling, the acoustic model on onnxruntime-web, the search,
 * endpoints and segments. The same as asr/{recognizer,segmenter,endpoint}.py.
 */

import { Graph, Search } from "./search.js";

/** Frames that go through the model at once: at least, so that a step is worth its overhead. */
const CHUNK = 4;
/** And at most. */
const BLOCK = 250;
/** Frames between two looks at what is stable. */
const LOOK = 8;
/** Frames of silence before a segment that are heard again with the next one. */
const PRE_ROLL = 10;

/**
 * @typedef {import("./search.js").Word} Word times are frames
 *
 * @typedef {object} Segment
 * @property {string} text
 * @property {Word[]} words times are seconds
 *
 * @typedef {object} Heard
 * @property {Segment[]} finals segments that are over
 * @property {string} text the hypothesis for the segment that is being spoken
 * @property {string} stable its beginning, which will not change any more
 * @property {number} time seconds that were decoded
 *
 * @typedef {object} Settings what the export wrote to settings.json
 * @property {string} name
 * @property {string} version
 * @property {string} license
 * @property {number} sample_rate samples per second
 * @property {number} frame samples per output frame
 * @property {number} delay output frames at the start that are lead-in of the look-ahead
 * @property {number} tail output frames of silence that have to follow the last sample
 * @property {Record<string, (number | null)[]>} states shape of each state; null is 1 here
 * @property {string[]} tokens
 * @property {import("./search.js").SearchOptions} search
 * @property {Record<"silence" | "silence_before_speech" | "longest", number | null>} endpoint
 *   seconds; null turns a rule off
 * @property {import("./search.js").GraphFacts} graph
 * @property {Record<"runtime" | "model" | "graph", [string, number, string]>} files name, bytes,
 *   SHA-256
 *
 * @typedef {Record<string, any>} State tensors by name
 *
 * @typedef {object} Model
 * @property {Settings} settings
 * @property {Graph} graph
 * @property {(audio: Float32Array, state: State | null) => Promise<[Float32Array, State]>} acoustic
 *   log-probabilities [T, V] of whole frames of audio, and the next state
 */

/** @param {Float32Array} a @param {Float32Array} b */
function joined(a, b) {
  if (!a.length) return b;
  const both = new Float32Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}

/** Changes the sampling rate of a stream: a low-pass filter, a Kaiser-windowed sinc. */
export class Resampler {
  /** Zero crossings of the sinc on each side, and the share of the band up to its cutoff. */
  static #CROSSINGS = 64;
  static #CUTOFF = 0.955;
  /** Of the Kaiser window; what is over the band is damped by about 90 dB. */
  static #BETA = 9;
  /** @type {Float32Array[]} the filter for each place of an output between two inputs */
  #filters = [];
  /** @type {Float32Array} input samples from `half` before the next output on */
  #recent;
  #read = 0;
  #given = 0;

  /** @param {number} from @param {number} to samples per second */
  constructor(from, to) {
    let [a, b] = [from, to];
    while (b) [a, b] = [b, a % b];
    this.same = from === to;
    this.down = from / a;
    this.up = to / a;
    const band = Math.min(1, to / from) * Resampler.#CUTOFF;
    this.half = Math.ceil(Resampler.#CROSSINGS / band);
    if (!this.same) {
      for (let phase = 0; phase < this.up; phase++) this.#filters.push(this.#filter(phase, band));
    }
    this.#recent = new Float32Array(this.half);
  }

  /** @param {Float32Array} samples @returns {Float32Array} those that are ready */
  step(samples) {
    if (this.same) return samples;
    this.#read += samples.length;
    this.#recent = joined(this.#recent, samples);
    return this.#ready(this.#read - this.half);
  }

  /** The rest; the stream is over. @returns {Float32Array} */
  flush() {
    if (this.same) return new Float32Array(0);
    this.#recent = joined(this.#recent, new Float32Array(this.half));
    return this.#ready(this.#read);
  }

  /** Outputs that lie before an input. @param {number} end */
  #ready(end) {
    const { down, up, half } = this;
    const count = Math.max(0, Math.ceil((end * up) / down) - this.#given);
    const output = new Float32Array(count);
    const origin = Math.floor((this.#given * down) / up);
    for (let i = 0; i < count; i++, this.#given++) {
      const filter = this.#filters[(this.#given * down) % up];
      const begin = Math.floor((this.#given * down) / up) - origin;
      let sum = 0;
      for (let k = 0; k < filter.length; k++) sum += filter[k] * this.#recent[begin + k];
      output[i] = sum;
    }
    this.#recent = this.#recent.slice(Math.floor((this.#given * down) / up) - origin);
    return output;
  }

  /** @param {number} phase @param {number} band */
  #filter(phase, band) {
    const filter = new Float32Array(2 * this.half);
    for (let k = 0; k < filter.length; k++) {
      const x = k - this.half - phase / this.up;
      const angle = Math.PI * band * x;
      const window = Math.sqrt(Math.max(0, 1 - (x / this.half) ** 2));
      const sinc = x ? Math.sin(angle) / angle : 1;
      filter[k] = (band * sinc * bessel(Resampler.#BETA * window)) / bessel(Resampler.#BETA);
    }
    return filter;
  }
}

/** Modified Bessel function of the first kind, order 0. @param {number} x */
function bessel(x) {
  let [sum, term] = [1, 1];
  for (let k = 1; term > sum * 1e-12; k++) sum += term *= (x / 2 / k) ** 2;
  return sum;
}

/** Log-probabilities to segments. */
export class Segmenter {
  /** The segment's first frame, counted from the first frame of the stream. */
  #begin = 0;
  #search;
  #silent = 0;
  #spoke = false;
  #stable = 0;
  /** @type {Word[]} */
  #words = [];

  /** @param {Settings} settings @param {Graph} graph */
  constructor(settings, graph) {
    this.settings = settings;
    this.graph = graph;
    this.tokens = settings.tokens.length;
    /** Seconds after which the stream ends, once that is known; no word ends later. */
    this.end = Infinity;
    this.#search = new Search(graph, settings.search);
  }

  /**
   * Hear T more frames.
   * @param {Float32Array} logProbs [T, V]
   * @returns {Heard}
   */
  step(logProbs) {
    const finals = [];
    while (logProbs.length) {
      const [count, reason] = this.#listen(logProbs);
      this.#read(logProbs.subarray(0, count * this.tokens));
      logProbs = logProbs.subarray(count * this.tokens);
      if (!reason) break;
      const { frames } = this.#search;
      let resume = frames - Math.min(PRE_ROLL, Math.floor(this.#silent / 2));
      if (reason === "longest" && this.#stable) {
        this.#words = this.#words.slice(0, this.#stable);
        resume = this.#words[this.#words.length - 1].end;
      }
      finals.push(...this.#final());
      const after = this.#search.behind(this.#words.length);
      const again = this.#search.logProbs.slice(resume * this.tokens, frames * this.tokens);
      logProbs = joined(again, logProbs);
      this.#begin += resume;
      this.#search = new Search(this.graph, this.settings.search, after);
      [this.#silent, this.#spoke, this.#stable, this.#words] = [0, false, 0, []];
    }
    return {
      finals,
      text: text(this.#words),
      stable: text(this.#words.slice(0, this.#stable)),
      time: this.#time(this.#search.frames),
    };
  }

  /** End the segment here; there is no other. @returns {Heard} */
  flush() {
    return { finals: this.#final(), text: "", stable: "", time: this.#time(this.#search.frames) };
  }

  /**
   * How many frames belong to the segment, and why it ends behind them.
   * @param {Float32Array} logProbs [T, V]
   * @returns {[number, "silence" | "longest" | null]}
   */
  #listen(logProbs) {
    const { endpoint } = this.settings;
    const count = logProbs.length / this.tokens;
    for (let number = 1; number <= count; number++) {
      const scores = logProbs.subarray((number - 1) * this.tokens, number * this.tokens);
      const blank = scores.every((score) => score <= scores[0]);
      this.#silent = blank ? this.#silent + 1 : 0;
      this.#spoke ||= !blank;
      const patience = this.#spoke ? endpoint.silence : endpoint.silence_before_speech;
      if (this.#silent * this.#seconds >= (patience ?? Infinity)) return [number, "silence"];
      const length = (this.#search.frames + number) * this.#seconds;
      if (length >= (endpoint.longest ?? Infinity)) return [number, "longest"];
    }
    return [count, null];
  }

  /**
   * Search through frames of one segment, with a look at what is stable wherever one is due.
   * @param {Float32Array} logProbs [T, V]
   */
  #read(logProbs) {
    for (let begin = 0; begin < logProbs.length; ) {
      const due = (LOOK - (this.#search.frames % LOOK)) * this.tokens;
      this.#search.step(logProbs.subarray(begin, begin + due));
      if (this.#search.frames % LOOK === 0) this.#stable = this.#search.stable();
      begin += due;
    }
    this.#words = this.#search.words();
  }

  /** @returns {Segment[]} at most one */
  #final() {
    const words = this.#words.map(({ text, start, end }) => {
      const over = Math.min(this.#time(end), rounded(this.end));
      const begun = Math.min(this.#time(start), rounded(over - this.#seconds));
      return { text, start: begun, end: over };
    });
    return words.length ? [{ text: text(words), words }] : [];
  }

  /** Seconds per frame. */
  get #seconds() {
    return this.settings.frame / this.settings.sample_rate;
  }

  /** @param {number} frame */
  #time(frame) {
    return rounded((this.#begin + frame) * this.#seconds);
  }
}

/** @param {{text: string}[]} words */
const text = (words) => words.map((word) => word.text).join(" ");

/** To milliseconds. @param {number} seconds */
const rounded = (seconds) => Math.round(seconds * 1000) / 1000;

/** One speaker's audio on its way to words: push samples, hear what is there, flush at the end. */
export class Stream {
  #resampler;
  #segmenter;
  /** @type {State | null} */
  #state = null;
  /** @type {Float32Array} */
  #pending = new Float32Array(0);
  #samples = 0;
  #leadIn;

  /** @param {Model} model @param {number} rate samples per second of what is pushed */
  constructor(model, rate) {
    this.model = model;
    this.#resampler = new Resampler(rate, model.settings.sample_rate);
    this.#segmenter = new Segmenter(model.settings, model.graph);
    this.#leadIn = model.settings.delay;
  }

  /** @param {Float32Array} samples mono; what is out of [-1, 1] is clipped, NaN is silence */
  push(samples) {
    const sound = samples.map((sample) => Math.max(-1, Math.min(1, sample || 0)));
    this.#wait(this.#resampler.step(sound));
  }

  /** Forget what waits. */
  drop() {
    this.#samples -= this.#pending.length;
    this.#pending = new Float32Array(0);
  }

  /** Whether there is enough for a step. */
  get ready() {
    return this.#pending.length >= CHUNK * this.model.settings.frame;
  }

  /** Decode whole frames of what waits, at most BLOCK of them. @returns {Promise<Heard>} */
  async hear() {
    const { settings, acoustic } = this.model;
    const frames = Math.min(BLOCK, Math.floor(this.#pending.length / settings.frame));
    const audio = this.#pending.subarray(0, frames * settings.frame);
    this.#pending = this.#pending.subarray(audio.length);
    const [logProbs, state] = await acoustic(audio, this.#state);
    this.#state = state;
    const leadIn = Math.min(this.#leadIn, frames);
    this.#leadIn -= leadIn;
    return this.#segmenter.step(logProbs.subarray(leadIn * settings.tokens.length));
  }

  /** Decode every sample that was pushed. The stream is over. @returns {AsyncGenerator<Heard>} */
  async *flush() {
    const { settings } = this.model;
    this.#wait(this.#resampler.flush());
    this.#segmenter.end = this.#samples / settings.sample_rate;
    const left = this.#pending.length % settings.frame;
    const frames = settings.delay + settings.tail + (left ? 1 : 0);
    this.#pending = joined(this.#pending, new Float32Array(frames * settings.frame - left));
    while (this.#pending.length) yield await this.hear();
    yield this.#segmenter.flush();
  }

  /** @param {Float32Array} samples */
  #wait(samples) {
    this.#samples += samples.length;
    this.#pending = joined(this.#pending, samples);
  }
}

/**
 * A file of the folder; those that were packed with gzip are unpacked, unless the server did it.
 * @param {[string, number, string]} file name, bytes, SHA-256
 * @param {(bytes: number) => void} arrived is told of each piece
 * @returns {Promise<[ArrayBuffer, boolean]>} what it holds, and whether it is there next time without a network
 */
async function fetched([name, , digest], arrived) {
  const address = `${name}?${digest}`;
  const response = await fetch(address);
  if (!response.ok || !response.body) {
    throw new Error(`The server has no ${name} (${response.status}); copy the whole folder.`);
  }
  const pieces = [];
  for (let reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    pieces.push(value);
    arrived(value.length);
  }
  const blob = new Blob(pieces);
  const packed = pieces.length && pieces[0][0] === 0x1f && pieces[0][1] === 0x8b;
  const stream = packed ? blob.stream().pipeThrough(new DecompressionStream("gzip")) : blob.stream();
  let content;
  try {
    content = await new Response(stream).arrayBuffer();
  } catch {
    throw new Error(`${name} is damaged; export the folder again, or copy it again.`);
  }
  return [content, await keep(address, blob)];
}

/**
 * Put a file where offline.js finds it, in the place of the one that the name had before.
 * @param {string} address @param {Blob} blob
 * @returns {Promise<boolean>} whether the browser has a place for it, with room
 */
async function keep(address, blob) {
  try {
    const cache = await caches.open("rill");
    if (!(await cache.match(address))) {
      await cache.delete(address, { ignoreSearch: true });
      await cache.put(address, new Response(blob));
    }
    return true;
  } catch {
    return false;
  }
}

/**
 * Load the model.
 * @param {Settings} settings
 * @param {(share: number) => void} progress
 * @returns {Promise<[Model, boolean]>} the model, and whether it was kept
 */
async function load(settings, progress) {
  const { runtime, model, graph } = settings.files;
  const total = runtime[1] + model[1] + graph[1];
  let there = 0;
  /** @param {number} bytes */
  const arrived = (bytes) => progress((there += bytes) / total);
  const files = await Promise.all([runtime, model, graph].map((file) => fetched(file, arrived)));
  const [wasm, onnx, arrays] = files.map(([content]) => content);
  const ort = await import("./onnxruntime/ort.wasm.bundle.min.js");
  ort.env.wasm.numThreads = 1; // more would need headers that a plain server does not send
  ort.env.wasm.wasmBinary = wasm;
  const session = await ort.InferenceSession.create(new Uint8Array(onnx));
  const names = Object.keys(settings.states);

  /** @type {Model["acoustic"]} */
  const acoustic = async (audio, state) => {
    const before =
      state ??
      Object.fromEntries(
        Object.entries(settings.states).map(([name, sizes]) => {
          const shape = sizes.map((size) => size ?? 1);
          const zeros = new Float32Array(shape.reduce((a, b) => a * b));
          return [name, new ort.Tensor("float32", zeros, shape)];
        }),
      );
    const chunk = new ort.Tensor("float32", audio, [1, audio.length]);
    const after = await session.run({ audio: chunk, ...before });
    const next = Object.fromEntries(names.map((name) => [name, after[`next_${name}`]]));
    return [after.log_probs.data, next];
  };
  const search = new Graph(settings.graph, arrays, settings.tokens);
  return [{ settings, graph: search, acoustic }, files.every(([, kept]) => kept)];
}

/**
 * The worker. It is told {load: Settings} first, then for each stream {start: rate}, {push:
 * samples} any number of times, and {stop: true}, or {drop: true} to end without what waits. It
 * tells {share} while it loads, {ready: true, kept: whether the files are there next time without a
 * network}, {heard: Heard}, {over: true} behind each stream, and {error: text}.
 */
function serve() {
  /** @type {Model} */
  let model;
  /** @type {Stream | null} */
  let stream = null;
  let busy = Promise.resolve();
  /** @param {object} message */
  const tell = (message) => postMessage(message);

  /** @param {any} message */
  async function handle(message) {
    if (message.load) {
      let kept;
      [model, kept] = await load(message.load, (share) => tell({ share }));
      tell({ ready: true, kept });
    } else if (message.start) {
      stream = new Stream(model, message.start);
    } else if (stream && message.push) {
      stream.push(message.push);
      while (stream.ready) tell({ heard: await stream.hear() });
    } else if (stream) {
      for await (const heard of stream.flush()) tell({ heard });
      tell({ over: true });
      stream = null;
    }
  }

  addEventListener("message", ({ data }) => {
    if (data.drop) stream?.drop(); // at once; everything else in turn
    busy = busy.then(() => handle(data)).catch((error) => tell({ error: error.message }));
  });
}

if ("WorkerGlobalScope" in globalThis) serve();
