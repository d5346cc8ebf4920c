// News of exports: from the stream that all tabs share, else by asking every few seconds.
import { signal } from "@preact/signals";
import type { Export } from "./service.ts";

type Told = { state: "live" | "lost" } | { data: string };
const ASK_EVERY_MS = 4000;

export const isLive = signal(false);
let again: () => void = () => undefined;

/** Begin; `onNews` is told each change, `askAll` is called while there is no stream. */
export function follow(onNews: (news: Export) => void, askAll: () => void): void {
  const take = (told: Told): void => {
    if ("data" in told) return onNews(JSON.parse(told.data) as Export);
    const was = isLive.value;
    isLive.value = told.state === "live";
    // What happened while there was no stream.
    if (isLive.value && !was) askAll();
  };
  setInterval(() => {
    if (!isLive.value && document.visibilityState === "visible") askAll();
  }, ASK_EVERY_MS);
  if ("SharedWorker" in window) shared(take);
  else own(take);
}

/** Open the stream anew: after signing in, and when the service is back. */
export function followAgain(): void {
  again();
}

function shared(take: (told: Told) => void): void {
  const address = document.querySelector<HTMLMetaElement>("meta[name=feed-worker]")?.content ?? "";
  let worker = new SharedWorker(address, { name: "feed", type: "module" });
  worker.port.onmessage = (event: MessageEvent<Told>) => take(event.data);
  again = () => worker.port.postMessage("again");
  addEventListener("pagehide", () => worker.port.postMessage("bye"));
  addEventListener("pageshow", (event) => {
    if (!event.persisted) return;
    worker = new SharedWorker(address, { name: "feed", type: "module" });
    worker.port.onmessage = (message: MessageEvent<Told>) => take(message.data);
  });
}

// Browsers without shared workers, Chrome on Android among them, have few tabs open.
function own(take: (told: Told) => void): void {
  let source: EventSource | undefined;
  again = () => {
    source?.close();
    source = new EventSource("/exports/events");
    source.onopen = () => take({ state: "live" });
    source.onerror = () => take({ state: "lost" });
    source.addEventListener("export", (event) => take({ data: (event as MessageEvent<string>).data }));
  };
  again();
}
