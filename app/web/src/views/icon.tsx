// Line icons, drawn here so that nothing has to be fetched.
const PATHS = {
  box: "M4 6h16v12H4z",
  polygon: "M12 3l8 6-3 11H7L4 9z",
  part: "M4 4h8v8H4zM17 13v8M13 17h8",
  hole: "M3 5h18v14H3zM9 10h6v5H9z",
  view: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5",
  layer: "M12 3l9 5-9 5-9-5zM3 12l9 5 9-5M3 16l9 5 9-5",
  undo: "M9 7L4 12l5 5M4 12h10a6 6 0 016 6",
  clear: "M6 6l12 12M18 6L6 18",
  plus: "M12 5v14M5 12h14",
  minus: "M5 12h14",
  grid: "M4 4h16v16H4zM12 4v16M4 12h16",
  globe: "M12 3a9 9 0 100 18 9 9 0 000-18zM3 12h18M12 3c3 3 3 15 0 18M12 3c-3 3-3 15 0 18",
  target: "M12 8a4 4 0 100 8 4 4 0 000-8zM12 2v4M12 18v4M2 12h4M18 12h4",
  download: "M12 4v11M7 11l5 5 5-5M5 20h14",
  search: "M10.5 4a6.5 6.5 0 100 13 6.5 6.5 0 000-13zM20 20l-4.5-4.5",
  link: "M10 14a4 4 0 006 0l3-3a4 4 0 00-6-6l-1 1M14 10a4 4 0 00-6 0l-3 3a4 4 0 006 6l1-1",
  sun: "M12 8a4 4 0 100 8 4 4 0 000-8zM12 2v3M12 19v3M2 12h3M19 12h3M5 5l2 2M17 17l2 2M19 5l-2 2M7 17l-2 2",
  moon: "M20 14.5A8 8 0 019.5 4 8 8 0 1020 14.5z",
  device: "M3 5h18v11H3zM8 20h8M12 16v4",
  back: "M15 5l-7 7 7 7",
  check: "M5 12l5 5L19 7",
  file: "M6 3h8l4 4v14H6zM14 3v4h4",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class={`icon icon-${name}`} viewBox="0 0 24 24" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}
