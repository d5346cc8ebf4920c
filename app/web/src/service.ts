// The service's HTTP API as this page uses it, and what is known of the service's health.
import { signal } from "@preact/signals";
import type { AskedArea } from "./area.ts";
import { apart, bytes, type Key, number, t } from "./language.ts";

export type Layer = {
  id: string;
  productId: string;
  productName?: string;
  productVersion: string;
  description?: string;
  maxResolutionDeg: number;
  sourceDateStart?: string;
  sourceDateEnd?: string;
  region?: string[];
  sensors?: string[];
  attribution?: string;
  footprint: { type: "Polygon" | "MultiPolygon"; coordinates: unknown[] };
};
export type Status = "Pending" | "In-Progress" | "Completed" | "Failed" | "Aborted" | "Expired";
export type Export = {
  requestId: string;
  client: string;
  status: Status;
  percentage: number;
  dbId: string;
  bounds: [number, number, number, number] | null;
  targetResolution: number | null;
  zoom: number | null;
  minZoom: number | null;
  description: string | null;
  priority: number | null;
  onError: string | null;
  acceptedAt: string;
  startedAt: string | null;
  finishedAt: string | null;
  expirationTime: string | null;
  pinned: boolean;
  /** Null: what is not known any more. */
  tiles: Record<"expected" | "written" | "missing" | "failed", number | null>;
  bytes: Record<"written" | "estimated", number | null>;
  etaSeconds: number | null;
  queuePosition: number | null;
  phase: string;
  errorReason: string | null;
  fileUri?: string | null;
  metadataUri?: string | null;
  fileSize?: number | null;
  packageName?: string | null;
};
export type WholeExport = Export & {
  bbox: AskedArea;
  history: { at: string; status: Status }[];
  result: {
    fileUri: string;
    metadataUri: string;
    fileSize: number;
    packageName: string;
    sha256: string;
    /** As it was promised first; the export's own tells when the package goes, or went. */
    expirationTime: string;
  } | null;
};
export type Estimate = {
  zoom: number;
  tiles: number;
  bytes: number;
  seconds: number;
  fits: boolean;
  suggestedZoom: number | null;
  tilesByZoom: { zoom: number; tiles: number; bytes: number }[];
  freeBytes: number;
  reservedBytes: number;
  limits: { limit: string; value: number; actual: number }[];
};
export type CreateBody = {
  dbId: string;
  bbox?: AskedArea;
  targetResolution: number;
  description?: string;
};
export type Session = { client: string | null; administrator: boolean; authRequired: boolean };

/** What went wrong, in the service's words; `status` 0: it could not be reached. */
export class Fault extends Error {
  constructor(
    readonly status: number,
    readonly reason: string,
  ) {
    super(`${status} ${reason}`);
  }
}

export type Health = { state: "well" } | { state: "away" } | { state: "unready"; reason: string };
export const health = signal<Health>({ state: "well" });
/** Counts up when the service has come back. */
export const comebacks = signal(0);
/** Counts up when whatever is shown should be asked again: after a comeback, after signing in. */
export const renewals = signal(0);
export const session = signal<Session | null>(null);
export const signInWanted = signal(false);
/** Somebody was signed in, and then the service did not know them any more. */
export const sessionHasEnded = signal(false);

const ASK_AGAIN_MS = 3000;
const LOOK_EVERY_MS = 10_000;
const ANSWER_WITHIN_MS = 30_000;
let asking: ReturnType<typeof setTimeout> | undefined;

export async function call<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  const raw = body instanceof Blob;
  const limit = AbortSignal.timeout(ANSWER_WITHIN_MS);
  let answer: Response;
  try {
    answer = await fetch(path, {
      method,
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
      ...(body === undefined ? {} : { body: raw ? body : JSON.stringify(body) }),
      headers: body === undefined ? {} : { "content-type": raw ? "application/octet-stream" : "application/json" },
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    noteAway();
    throw new Fault(0, (error as Error).message);
  }
  const told: unknown = answer.status === 204 ? null : await answer.json().catch(() => null);
  if (answer.ok) {
    noteWell();
    return told as T;
  }
  const reason = (told as { message?: string } | null)?.message ?? answer.statusText;
  if (answer.status === 401) noteSignedOut();
  // A proxy in front says 502 or 504 while the service itself is away.
  if (answer.status === 502 || answer.status === 504) noteAway();
  else if (answer.status === 503) void askReadiness();
  throw new Fault(answer.status, reason);
}

function noteWell(): void {
  if (health.value.state === "away") void askReadiness();
}

function noteAway(): void {
  if (health.value.state !== "away") health.value = { state: "away" };
  askLater();
}

function noteSignedOut(): void {
  if (session.value?.client) sessionHasEnded.value = true;
  session.value = { client: null, administrator: false, authRequired: true };
  signInWanted.value = true;
}

function askLater(): void {
  clearTimeout(asking);
  asking = setTimeout(() => void askReadiness(), ASK_AGAIN_MS);
}

/** Look now and then whether the service can work: nothing else tells of it while nothing is asked. */
export function keepLooking(): void {
  setInterval(() => {
    if (document.visibilityState === "visible" && health.value.state === "well") void askReadiness();
  }, LOOK_EVERY_MS);
}

/** Ask whether the service can work, again and again until it can. */
export async function askReadiness(): Promise<void> {
  clearTimeout(asking);
  try {
    const answer = await fetch("/readyz", { signal: AbortSignal.timeout(ANSWER_WITHIN_MS) });
    if (answer.ok) {
      const was = health.value.state;
      health.value = { state: "well" };
      // Two may have asked at once: the first answer is the comeback.
      if (was !== "well") comebacks.value += 1;
      return;
    }
    const told = (await answer.json().catch(() => ({}))) as { message?: string };
    health.value = { state: "unready", reason: told.message ?? answer.statusText };
  } catch {
    health.value = { state: "away" };
  }
  askLater();
}

/** Refusals that people meet most, by the service's words; what they capture are numbers. */
const OFTEN: [RegExp, Key][] = [
  [/nothing in common/, "fault_outside"],
  [/Self-intersection at longitude (\S+), latitude (\S+)/, "fault_crossed"],
  [/> east .* degrees wide, more than (\d+)/, "fault_crossing"],
  [/at most (\d+) days/, "fault_days"],
  [/corner at (\S+), (\S+), which is not on the globe/, "notOnGlobe"],
  [/no area: it holds no polygon/, "noPolygon"],
  [/no area: it holds no \./, "fault_415"],
  [/^the file (?:cannot|took)|no area: it(?:s layer .*)? (?:cannot|is a broken|unpacks|needs)/, "fault_file"],
];

/** The limit of tiles or of square kilometres that is broken, and by how much. */
const TOO_MUCH = /([\d,.]+) (tiles|km2)\b.* more than ([\d,.]+)$/;
const numeral = (count: string): string => number(Number(count.replaceAll(",", "")), 4);

function oftenTold(reason: string): string | null {
  for (const [words, key] of OFTEN) {
    const found = words.exec(reason);
    if (found) return t(key, { reason: apart(found.slice(1).map(numeral).join(", ")) });
  }
  const [, actual, unit, value] = TOO_MUCH.exec(reason) ?? [];
  if (!actual || !value) return null;
  const limit = t(unit === "tiles" ? "limit_tiles" : "limit_area");
  return t("fault_413", { reason: t("limitTold", { limit, actual: apart(numeral(actual)), value: apart(numeral(value)) }) });
}

/** A fault in plain words, with what to do. */
export function inPlainWords(error: unknown): string {
  if (!(error instanceof Fault)) return t("fault_500");
  const often = error.status >= 400 && error.status < 500 && oftenTold(error.reason);
  if (often) return often;
  // The service's own words are English, whatever the page speaks.
  const reason = apart(
    error.reason
      .replace(/^not enough space: |\.$/g, "")
      .replace(/(\d+) bytes/g, (_, count: string) => bytes(Number(count))),
  );
  switch (error.status) {
    case 0:
    case 502:
    case 504:
      return t("fault_away");
    case 401:
      return t("sessionEnded");
    case 403:
      return t("fault_403", { reason });
    case 404:
      return t("fault_404", { reason });
    case 409:
    case 410:
      return t("fault_409", { reason });
    case 413:
      return t("fault_413", { reason });
    case 415:
      return t("fault_415");
    case 429:
      return t("fault_429", { reason });
    case 503:
      return t("fault_503", { reason });
    case 507:
      return t("fault_507", { reason });
    default:
      return error.status < 500 ? t("fault_400", { reason }) : t("fault_500");
  }
}

export async function askSession(): Promise<void> {
  try {
    session.value = await call<Session>("GET", "/session");
    signInWanted.value = session.value.authRequired && session.value.client === null;
  } catch (error) {
    // A service without sign-in has no such address.
    if (error instanceof Fault && error.status === 404) {
      session.value = { client: "anonymous", administrator: false, authRequired: false };
    }
  }
}
