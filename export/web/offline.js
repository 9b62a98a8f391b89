/**
 * The service worker: once the page was loaded it works without a network.
 *
 * Files that are asked for by their digest never change: they come from the cache. All others come
 * from the server, and from the cache when there is none.
 */

const CACHE = "rill";
const PAGE = [
  "./",
  "page.js",
  "recognizer.js",
  "search.js",
  "microphone.js",
  "settings.json",
  "onnxruntime/ort.wasm.bundle.min.js",
];

/** @param {Request} request */
async function answered(request) {
  const cache = await caches.open(CACHE);
  const known = await cache.match(request);
  const digested = new URL(request.url).pathname.endsWith(".gz"); // recognizer.js keeps these
  if (known && digested) return known;
  try {
    const response = await fetch(request, { cache: "no-cache" });
    if (response.ok && !digested) {
      await cache.put(request, response.clone()).catch(() => {}); // no room: the older one stays
    }
    return response;
  } catch (error) {
    const answer = known ?? (request.mode === "navigate" ? await cache.match("./") : null);
    if (answer) return answer;
    throw error;
  }
}

addEventListener("install", (event) => {
  skipWaiting();
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(PAGE)));
});
addEventListener("activate", (event) => event.waitUntil(clients.claim()));
addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  if (method === "GET" && url.startsWith(registration.scope)) {
    event.respondWith(answered(event.request));
  }
});
