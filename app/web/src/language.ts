// The language of the page: texts, numbers, sizes and times in it.
import { effect, signal } from "@preact/signals";
import { en } from "./texts/en.ts";
import { he } from "./texts/he.ts";

type Plural = { one: string; two?: string; other: string };
type Source = typeof en;
export type Key = keyof Source;
export type Texts = { [K in Key]: Source[K] extends string ? string : Plural };
export type Language = "en" | "he";

export const LANGUAGES: Record<Language, { name: string; texts: Texts; rtl: boolean }> = {
  en: { name: "English", texts: en, rtl: false },
  he: { name: "עברית", texts: he, rtl: true },
};
const KEPT_AS = "language";

function preferred(): Language {
  const kept = localStorage.getItem(KEPT_AS);
  if (kept === "en" || kept === "he") return kept;
  return navigator.languages.some((one) => /^(he|iw)/.test(one)) ? "he" : "en";
}

export const language = signal<Language>(preferred());

effect(() => {
  const root = document.documentElement;
  root.lang = language.value;
  root.dir = LANGUAGES[language.value].rtl ? "rtl" : "ltr";
  document.title = t("appName");
  localStorage.setItem(KEPT_AS, language.value);
});

/** A text of the page; `n` chooses between singular and plural, numbers are formatted. */
export function t(key: Key, values: Record<string, string | number> = {}): string {
  const text = LANGUAGES[language.value].texts[key];
  const template = typeof text === "string" ? text : pluralOf(text, Number(values["n"] ?? 0));
  return template.replace(/\{(\w+)\}/g, (_, name: string) => {
    const value = values[name] ?? "";
    return typeof value === "number" ? number(value) : value;
  });
}

function pluralOf(text: Plural, n: number): string {
  const form = new Intl.PluralRules(language.value).select(n);
  return (form === "one" && text.one) || (form === "two" && text.two) || text.other;
}

export function number(value: number, digits = 0): string {
  return new Intl.NumberFormat(language.value, { maximumFractionDigits: digits }).format(value);
}

/** Never with an exponent. */
export function significant(value: number, digits: number): string {
  return new Intl.NumberFormat(language.value, { maximumSignificantDigits: digits }).format(value);
}

function unit(value: number, name: string, digits = 0): string {
  return new Intl.NumberFormat(language.value, {
    style: "unit",
    unit: name,
    unitDisplay: "short",
    maximumFractionDigits: digits,
  }).format(value);
}

/** Keeps a number with its unit together where the text around runs the other way. */
export function apart(text: string): string {
  return LANGUAGES[language.value].rtl ? `\u2068${text}\u2069` : text;
}

export function bytes(value: number): string {
  const units = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"];
  let step = 0;
  while (value >= 1000 && step < units.length - 1) {
    value /= 1000;
    step += 1;
  }
  return apart(unit(value, units[step] as string, value < 10 && step > 0 ? 1 : 0));
}

export function metres(value: number): string {
  if (value >= 1000) return apart(unit(value / 1000, "kilometer", value < 100_000 ? 1 : 0));
  if (value >= 1) return apart(unit(value, "meter", value < 10 ? 1 : 0));
  return apart(unit(value * 100, "centimeter", value < 0.1 ? 1 : 0));
}

export function duration(seconds: number): string {
  if (seconds < 90) return apart(unit(Math.max(1, Math.round(seconds)), "second"));
  if (seconds < 5400) return apart(unit(Math.round(seconds / 60), "minute"));
  if (seconds < 172_800) return apart(unit(seconds / 3600, "hour", 1));
  return apart(unit(seconds / 86_400, "day", 1));
}

export function day(iso: string): string {
  return new Intl.DateTimeFormat(language.value, { dateStyle: "medium" }).format(new Date(iso));
}

export function moment(iso: string): string {
  const options = { dateStyle: "medium", timeStyle: "short" } as const;
  return new Intl.DateTimeFormat(language.value, options).format(new Date(iso));
}

export function ago(iso: string): string {
  const seconds = (new Date(iso).getTime() - Date.now()) / 1000;
  const steps: [number, Intl.RelativeTimeFormatUnit][] = [
    [86_400, "day"],
    [3600, "hour"],
    [60, "minute"],
  ];
  const format = new Intl.RelativeTimeFormat(language.value, { numeric: "auto" });
  const [size, name] = steps.find(([step]) => Math.abs(seconds) >= step) ?? [1, "second"];
  return format.format(name === "second" ? 0 : Math.round(seconds / size), name);
}
