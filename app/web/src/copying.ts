// What can be copied: links, commands, records.
import { announce } from "./notices.ts";
import { t } from "./language.ts";
import type { CreateBody } from "./service.ts";

export async function copyText(text: string, said = t("copied")): Promise<void> {
  announce((await inClipboard(text)) ? said : t("notCopied"));
}

async function inClipboard(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return byCommand(text);
  }
}

// Without https the clipboard's own interface is not there.
function byCommand(text: string): boolean {
  const field = document.createElement("textarea");
  field.value = text;
  field.className = "unseen";
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  return done;
}

export function asCurl(body: CreateBody, needsToken: boolean): string {
  const quoted = JSON.stringify(body).replaceAll("'", "'\\''");
  const token = needsToken ? ` -H "x-api-key: $TOKEN"` : "";
  return `curl -s ${location.origin}/create${token} -H 'content-type: application/json' -d '${quoted}'`;
}

/** The record as docs/kafka.md sends it; encode it with schemas/export_requested.avsc. */
export function asKafkaRecord(body: CreateBody, client: string): string {
  const requestId = newUuid();
  const value = {
    requestId,
    dbId: body.dbId,
    atMs: Date.now(),
    client,
    bbox: body.bbox ? JSON.stringify(body.bbox) : null,
    targetResolution: body.targetResolution,
    description: body.description ?? null,
  };
  return JSON.stringify({ topic: "export-requests", key: requestId, value }, null, 2);
}

// crypto.randomUUID is there with https only.
function newUuid(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = ((bytes[6] as number) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80;
  const text = [...bytes].map((one) => one.toString(16).padStart(2, "0")).join("");
  return text.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
