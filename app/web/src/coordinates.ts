// Coordinates as people type them: 34.81, -70,5, 34°48'36"E, S 34 48 36.
export type Axis = "longitude" | "latitude";
export type Parsed = { value: number; axis: Axis | null };

const NUMBER = String.raw`(\d+(?:\.\d*|,\d+)?|\.\d+)`;
const DMS = new RegExp(
  `^${NUMBER}(?:\\s*[°ºd:]\\s*|\\s+|$)(?:${NUMBER}(?:\\s*['′’m:]\\s*|\\s+|$)(?:${NUMBER}\\s*(?:["″”s]|''|′′|’’)?)?)?$`,
  "i",
);

/** Degrees, or null for what is no coordinate.
 *
 * An s at the end is south, but for a small one after minutes that bear an m: 33d 51m 31s.
 */
export function parseCoordinate(text: string): Parsed | null {
  let rest = text.replace(/[\u200e\u200f\u2066-\u2069]/g, "").trim();
  let letter = "";
  for (const side of [/^[nsew]\s*/i, /\s*[nsew]$/i]) {
    const found = side.exec(rest)?.[0];
    if (!found || (found.trim() === "s" && /m[\s\d.,]+s$/i.test(rest))) continue;
    if (letter) return null;
    letter = found.trim().toUpperCase();
    rest = rest.replace(side, "");
  }
  const sign = /^[-−+]\s*/.exec(rest)?.[0] ?? "";
  const parts = DMS.exec(rest.slice(sign.length))?.slice(1).filter((part) => part !== undefined);
  // Which of the two would it be: 34 south with a minus?
  if (!parts || (letter && sign)) return null;
  const [degrees = 0, minutes = 0, seconds = 0] = parts.map((part) => Number(part.replace(",", ".")));
  // "34.5 30" is two coordinates rather than one.
  if (minutes >= 60 || seconds >= 60 || parts.slice(0, -1).some((part) => /[.,]/.test(part))) return null;
  const isNegative = letter ? "SW".includes(letter) : /^[-−]/.test(sign);
  const axis = !letter ? null : "NS".includes(letter) ? "latitude" : "longitude";
  return { value: (isNegative ? -1 : 1) * (degrees + minutes / 60 + seconds / 3600), axis };
}

export function formatDecimal(value: number): string {
  return String(Number(value.toFixed(7)));
}

export function formatDms(value: number, axis: Axis): string {
  const letter = axis === "latitude" ? (value < 0 ? "S" : "N") : value < 0 ? "W" : "E";
  const hundredths = Math.round(Math.abs(value) * 360_000);
  const degrees = Math.floor(hundredths / 360_000);
  const minutes = Math.floor((hundredths % 360_000) / 6000);
  const seconds = (hundredths % 6000) / 100;
  const padded = (part: number) => String(part).padStart(2, "0");
  return `${degrees}°${padded(minutes)}′${padded(seconds)}″${letter}`;
}
