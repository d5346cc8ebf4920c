// One stream of events for all tabs: HTTP/1.1 allows six connections, and each tab would take one.
//
// A tab that is gone without a word stays in `ports`; a message to it is lost without harm.
export {};

type Told = { state: "live" | "lost" } | { data: string };
interface WorkerScope {
  onconnect: ((event: MessageEvent) => void) | null;
}

const AGAIN_MS = 5000;
const ports = new Set<MessagePort>();
let source: EventSource | null = null;
let state: Told = { state: "lost" };

const tell = (told: Told): void => {
  if ("state" in told) state = told;
  for (const port of ports) port.postMessage(told);
};

function open(): void {
  source?.close();
  source = new EventSource("/exports/events");
  source.onopen = () => tell({ state: "live" });
  source.onerror = () => {
    tell({ state: "lost" });
    // The browser tries again by itself unless the answer was a refusal.
    if (source?.readyState === EventSource.CLOSED) setTimeout(() => ports.size > 0 && open(), AGAIN_MS);
  };
  source.addEventListener("export", (event) => tell({ data: (event as MessageEvent<string>).data }));
}

(self as unknown as WorkerScope).onconnect = (event) => {
  const port = event.ports[0] as MessagePort;
  ports.add(port);
  port.onmessage = (message: MessageEvent<"bye" | "again">) => {
    if (message.data === "again") open();
    else ports.delete(port);
    if (ports.size === 0) {
      source?.close();
      source = null;
    }
  };
  if (source === null) open();
  else port.postMessage(state);
};
