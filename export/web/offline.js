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

/** @param {Cache} cache @param {Request} request */
async function kept(cache, request) {
  const response = await fetch(request, { cache: "no-cache" });
  if (response.ok) await cache.put(request, response.clone());
  return response;
}

/** @param {Request} request */
async function answered(request) {
  const cache = await caches.open(CACHE);
  const known =
    (await cache.match(request)) ?? (request.mode === "navigate" ? await cache.match("./") : null);
  if (new URL(request.url).pathname.endsWith(".gz")) {
    if (known) return known;
    await cache.delete(request, { ignoreSearch: true }); // the file as it was before
    return kept(cache, request);
  }
  try {
    return await kept(cache, request);
  } catch (error) {
    if (known) return known;
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
