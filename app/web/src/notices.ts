// Short messages: shown for a moment, and read out by screen readers.
import { signal } from "@preact/signals";

const SHOWN_MS = 6000;
export type Notice = { id: number; text: string; bad: boolean };
export const notices = signal<Notice[]>([]);
let last = 0;

export function announce(text: string, bad = false): void {
  last += 1;
  const id = last;
  notices.value = [...notices.value.slice(-2), { id, text, bad }];
  setTimeout(() => dismiss(id), bad ? SHOWN_MS * 2 : SHOWN_MS);
}

export function dismiss(id: number): void {
  notices.value = notices.value.filter((one) => one.id !== id);
}
