/** The page: microphone, files, and what is shown. The words come from a worker, recognizer.js. */

/**
 * @typedef {import("./recognizer.js").Settings} Settings
 * @typedef {import("./recognizer.js").Heard} Heard
 */

/** @param {string} id @returns {any} */
const element = (id) => document.getElementById(id);
const [record, choose, file, copy, clear] = ["record", "choose", "file", "copy", "clear"].map(element);
const [finals, partial, hint, progress] = ["finals", "partial", "hint", "progress"].map(element);
const transcript = /** @type {HTMLElement} */ (document.querySelector("main"));

/** Quieter than this is an empty level meter, in dB of full scale. */
const FLOOR = -60;

/** What a browser calls the ways in which it gives no microphone. @type {Record<string, string>} */
const REFUSALS = {
  NotAllowedError: "The microphone is not allowed. Allow it in the browser's settings of this page, then press Record again.",
  NotFoundError: "There is no microphone. Connect one, then press Record again.",
  NotReadableError: "The microphone cannot be opened. Perhaps another program uses it.",
};

/** @type {Worker} */
let worker;
/** What is being heard. @type {null | "microphone" | "file"} */
let source = null;
/** Its name, until the first line of it was written. */
let title = "";
/** Ends the microphone. @type {null | (() => void)} */
let hangUp = null;
/** Seconds of the file that is being read, and when that began. */
let [duration, began] = [0, 0];

/** @param {string} text @param {boolean} [wrong] */
function say(text, wrong = false) {
  element("status").textContent = text;
  element("status").classList.toggle("wrong", wrong);
}

/** @param {number | null} share null hides it */
function show(share) {
  progress.hidden = share === null;
  progress.value = share ?? 0;
}

/** @param {number} seconds */
function clock(seconds) {
  const [minutes, rest] = [Math.floor(seconds / 60), Math.floor(seconds % 60)];
  return `${minutes}:${String(rest).padStart(2, "0")}`;
}

/** What is said behind what was heard. */
function done() {
  if (source === "microphone") return "Ready.";
  const seconds = (performance.now() - began) / 1000;
  return `Ready. It took ${seconds.toFixed(1)} s to hear ${duration.toFixed(1)} s.`;
}

/** Set what can be pressed. */
function update() {
  record.textContent = source ? "Stop" : "Record";
  record.classList.toggle("live", source === "microphone");
  record.disabled = false;
  choose.disabled = source !== null;
  copy.disabled = clear.disabled = !finals.childElementCount;
  hint.hidden = source !== null || finals.childElementCount > 0;
}

/** @param {Heard} heard */
function write({ finals: segments, text, stable, time }) {
  if (title && segments.length) {
    const heading = document.createElement("h2");
    heading.textContent = title;
    finals.append(heading);
    title = "";
  }
  for (const segment of segments) {
    const line = document.createElement("p");
    line.textContent = segment.text;
    line.dataset.time = clock(segment.words[0].start);
    finals.append(line);
  }
  element("stable").textContent = stable;
  element("unstable").textContent = text.slice(stable.length).trim();
  partial.hidden = !text;
  if (source === "file") show(Math.min(1, time / duration));
  const { scrollHeight, scrollTop, clientHeight } = transcript;
  if (scrollHeight - scrollTop - clientHeight < 200) transcript.scrollTop = scrollHeight;
  update();
}

/** @param {Float32Array} samples */
function meter(samples) {
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  const level = 10 * Math.log10(sum / Math.max(1, samples.length) + 1e-12);
  const share = Math.max(0, Math.min(1, 1 - level / FLOOR));
  element("level").setAttribute("aria-valuenow", String(Math.round(100 * share)));
  element("level").firstElementChild.style.transform = `scaleX(${share})`;
}

/** Open the microphone and pass on what it hears, until `hangUp`. */
async function listen() {
  if (!navigator.mediaDevices) {
    return say("The browser gives the microphone only to pages from https:// or localhost.", true);
  }
  source = "microphone";
  title = `Microphone, ${new Date().toLocaleTimeString([], { timeStyle: "short" })}`;
  update();
  say("Waiting for the microphone.");
  let stream;
  const context = new AudioContext();
  try {
    const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, ...plain } });
    await context.audioWorklet.addModule("microphone.js");
    await context.resume();
  } catch (/** @type {any} */ error) {
    stream?.getTracks().forEach((track) => track.stop());
    context.close();
    source = null;
    update();
    return say(REFUSALS[error.name] ?? `The microphone failed: ${error.message}`, true);
  }
  const node = new AudioWorkletNode(context, "microphone", { numberOfOutputs: 0 });
  worker.postMessage({ start: context.sampleRate });
  node.port.onmessage = ({ data: samples }) => {
    if (samples) {
      meter(samples);
      worker.postMessage({ push: samples }, [samples.buffer]);
    } else {
      stream.getTracks().forEach((track) => track.stop());
      context.close();
      meter(new Float32Array(1));
      worker.postMessage({ stop: true });
    }
  };
  hangUp = () => {
    hangUp = null;
    node.port.postMessage("stop");
  };
  stream.getAudioTracks()[0].onended = () => {
    hangUp?.();
    say("The microphone was disconnected.", true);
  };
  context.createMediaStreamSource(stream).connect(node);
  say("Listening.");
}

/** @param {File} recording */
async function read(recording) {
  source = "file";
  title = recording.name;
  update();
  say(`Reading ${recording.name}.`);
  show(0);
  const context = new OfflineAudioContext(1, 1, 16000); // decodes to its own rate
  let sound;
  try {
    sound = await context.decodeAudioData(await recording.arrayBuffer());
  } catch {
    source = null;
    show(null);
    update();
    return say(`${recording.name} holds no sound that this browser can read.`, true);
  }
  [duration, began] = [sound.duration, performance.now()];
  const samples = mono(sound);
  worker.postMessage({ start: sound.sampleRate });
  worker.postMessage({ push: samples }, [samples.buffer]);
  worker.postMessage({ stop: true });
}

/** The mean of all channels. @param {AudioBuffer} sound */
function mono(sound) {
  const mean = sound.getChannelData(0).slice();
  for (let channel = 1; channel < sound.numberOfChannels; channel++) {
    sound.getChannelData(channel).forEach((sample, i) => (mean[i] += sample));
  }
  return mean.map((sample) => sample / sound.numberOfChannels);
}

/** @param {Settings} settings @returns {Promise<boolean>} whether the model is kept for the next time */
function load(settings) {
  worker = new Worker("recognizer.js", { type: "module" });
  return new Promise((resolve, reject) => {
    worker.onerror = () => reject(new Error("This browser cannot run the recogniser; it is too old."));
    worker.onmessage = ({ data }) => {
      if (data.share) show(data.share);
      if (data.error) reject(new Error(data.error));
      if (data.ready) resolve(data.kept);
    };
    worker.postMessage({ load: settings });
  });
}

/** Have the service worker serve the page when there is no network. @returns {Promise<boolean>} whether it does */
async function keepOffline() {
  const { serviceWorker } = navigator;
  if (!serviceWorker) return false;
  const { active, installing } = await serviceWorker.register("offline.js");
  if (!installing) return Boolean(active);
  return new Promise((resolve) => {
    installing.addEventListener("statechange", () => {
      if (installing.state === "activated") resolve(true);
      if (installing.state === "redundant") resolve(Boolean(active));
    });
  });
}

async function begin() {
  if (typeof WebAssembly !== "object") throw new Error("This browser has no WebAssembly, which the recogniser needs.");
  if (typeof AudioWorkletNode !== "function" && isSecureContext) throw new Error("This browser has no AudioWorklet; it is too old.");
  say("Loading the model.");
  const offline = keepOffline().catch(() => false);
  const response = await fetch("settings.json");
  if (!response.ok) throw new Error("The server has no settings.json; copy the whole folder.");
  /** @type {Settings} */
  const settings = await response.json();
  element("about").textContent = `Model ${settings.name}, version ${settings.version}, ${settings.license}. Runs on onnxruntime-web (MIT).`;
  const kept = (await load(settings)) && (await offline);
  worker.onmessage = ({ data }) => {
    if (data.heard) write(data.heard);
    if (data.error) say(data.error, true);
    if (data.over && !element("status").classList.contains("wrong")) say(done());
    if (data.over || data.error) {
      source = null;
      show(null);
      update();
    }
  };
  show(null);
  say(kept ? "Ready." : "Ready. The browser cannot keep the page: it needs the network each time.");
  update();
}

record.onclick = () => {
  if (source === "microphone") hangUp?.();
  else if (source === "file") worker.postMessage({ drop: true });
  else listen();
};
choose.onclick = () => file.click();
file.onchange = () => {
  if (file.files[0]) read(file.files[0]);
  file.value = "";
};
copy.onclick = async () => {
  const lines = Array.from(finals.querySelectorAll("p"), (line) => line.textContent);
  try {
    await navigator.clipboard.writeText(lines.join("\n"));
    say("The text is in the clipboard.");
  } catch {
    say("The browser does not let the page copy; select the text instead.", true);
  }
};
clear.onclick = () => {
  finals.replaceChildren();
  update();
  record.focus();
};
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("over");
});
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  const [recording] = event.dataTransfer?.files ?? [];
  if (recording && !choose.disabled) read(recording);
});

begin().catch((error) => {
  show(null);
  say(error.message, true);
});
