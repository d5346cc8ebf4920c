// What the export in the form would cost, asked anew whenever the form changes.
import { effect, signal } from "@preact/signals";
import { MAX_VERTICES, verticesOf } from "./area.ts";
import { area, body } from "./draft.ts";
import { call, type Estimate, Fault, inPlainWords, renewals } from "./service.ts";

const QUIET_MS = 250;

export type Told =
  | { state: "none" }
  | { state: "asking"; before: Estimate | null }
  | { state: "known"; estimate: Estimate }
  | { state: "unavailable" }
  /** The export itself would be refused; `failed`: nobody knows. */
  | { state: "refused" | "failed"; why: string };
export const estimate = signal<Told>({ state: "none" });

const asked_again = signal(0);
let waiting: ReturnType<typeof setTimeout> | undefined;
let under_way: AbortController | undefined;

/** Ask again though the form is as it was: the service has just said that something is otherwise. */
export function estimateAgain(): void {
  asked_again.value += 1;
}

export function keepEstimating(): void {
  effect(() => {
    const asked = body.value;
    renewals.value;
    asked_again.value;
    clearTimeout(waiting);
    under_way?.abort();
    if (asked === null || (area.value && verticesOf(area.value) > MAX_VERTICES)) {
      estimate.value = { state: "none" };
      return;
    }
    const last = estimate.peek();
    const before = last.state === "known" ? last.estimate : last.state === "asking" ? last.before : null;
    estimate.value = { state: "asking", before };
    waiting = setTimeout(() => void ask(asked), QUIET_MS);
  });
}

async function ask(asked: unknown): Promise<void> {
  const mine = new AbortController();
  under_way = mine;
  try {
    const told = await call<Estimate>("POST", "/estimate", asked, mine.signal);
    if (!mine.signal.aborted) estimate.value = { state: "known", estimate: told };
  } catch (error) {
    if (mine.signal.aborted) return;
    const absent = error instanceof Fault && (error.status === 404 || error.status === 405);
    estimate.value =
      absent && !/layer/i.test((error as Fault).reason)
        ? { state: "unavailable" }
        : { state: isFinal(error) ? "refused" : "failed", why: inPlainWords(error) };
  }
}

/** Whether asking again changes nothing: not where somebody must sign in, nor where the service is away. */
function isFinal(error: unknown): boolean {
  return error instanceof Fault && error.status >= 400 && error.status < 500 && error.status !== 401 && error.status !== 429;
}
