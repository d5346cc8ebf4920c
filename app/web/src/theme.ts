// Dark or light: as the device has it, or as somebody chose.
import { effect, signal } from "@preact/signals";

export type Theme = "system" | "light" | "dark";
const KEPT_AS = "theme";
const kept = localStorage.getItem(KEPT_AS);
export const theme = signal<Theme>(kept === "light" || kept === "dark" ? kept : "system");

export function keepTheme(): void {
  effect(() => {
    document.documentElement.dataset["theme"] = theme.value;
    localStorage.setItem(KEPT_AS, theme.value);
  });
}

export function nextTheme(): void {
  const order: Theme[] = ["system", "light", "dark"];
  theme.value = order[(order.indexOf(theme.value) + 1) % order.length] as Theme;
}
