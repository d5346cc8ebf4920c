// The frame of the page: header, banner, panel and map.
import { useLayoutEffect, useRef } from "preact/hooks";
import { focusOnView, keepFocus } from "../focus.ts";
import { openCount } from "../follow.ts";
import { apart, language, LANGUAGES, t } from "../language.ts";
import { dismiss, notices } from "../notices.ts";
import { route } from "../route.ts";
import { askReadiness, health, session, signInWanted } from "../service.ts";
import { nextTheme, theme } from "../theme.ts";
import { ExportList } from "./export_list.tsx";
import { ExportView } from "./export_view.tsx";
import { Icon } from "./icon.tsx";
import { FileDrop } from "./file_drop.tsx";
import { MapView } from "./map_view.tsx";
import { NewExport } from "./new_export.tsx";
import { SignIn, SignOut } from "./sign_in.tsx";

export function App() {
  const at = route.value;
  const place = at.view === "export" ? at.id : at.view;
  const before = useRef(place);
  useLayoutEffect(() => keepFocus(document.getElementById("page") as HTMLElement), []);
  useLayoutEffect(() => {
    if (before.current === place) return;
    // The list keeps its own place.
    if (at.view !== "exports") {
      document.getElementById("panel")?.scrollTo(0, 0);
      scrollTo(0, 0);
    }
    focusOnView(before.current);
    before.current = place;
  }, [place]);
  return (
    <div class="frame">
      <a class="skip" href="#panel" onClick={(event) => skip(event)}>
        {t("skip")}
      </a>
      <Header />
      <Banner />
      <main class="work" data-view={at.view}>
        <section class="panel" id="panel" tabIndex={-1} aria-label={t("appName")}>
          <Tabs />
          {at.view !== "export" && (
            <h2 class="title unseen" tabIndex={-1}>
              {t(at.view === "new" ? "tabNew" : "tabExports")}
            </h2>
          )}
          {at.view === "new" && <NewExport />}
          {at.view === "exports" && <ExportList />}
          {at.view === "export" && <ExportView key={at.id} id={at.id} />}
        </section>
        <MapView />
      </main>
      <FileDrop />
      <Notices />
      {signInWanted.value && session.value !== null && <SignIn />}
    </div>
  );
}

function skip(event: Event): void {
  event.preventDefault();
  document.getElementById("panel")?.focus();
}

function Header() {
  const other = language.value === "en" ? "he" : "en";
  const themes = { system: ["device", "themeSystem"], light: ["sun", "themeLight"], dark: ["moon", "themeDark"] } as const;
  const [icon, name] = themes[theme.value];
  return (
    <header class="header">
      <Logo />
      <h1>{t("appName")}</h1>
      <span class="space" />
      <SignOut />
      <a class="quiet" href="/docs/api">
        {t("apiPage")}
      </a>
      <button type="button" class="quiet" lang={other} onClick={() => (language.value = other)}>
        {LANGUAGES[other].name}
      </button>
      <button type="button" class="quiet square" onClick={nextTheme} aria-label={`${t("theme")}: ${t(name)}`} title={`${t("theme")}: ${t(name)}`}>
        <Icon name={icon} />
      </button>
    </header>
  );
}

function Logo() {
  return (
    <svg class="logo" viewBox="0 0 32 32" aria-hidden="true">
      <rect class="logo-ground" width="32" height="32" rx="8" />
      <path class="logo-tiles" d="M7 7h8v8H7zM17 7h8v8h-8zM7 17h8v8H7z" />
      <path class="logo-taken" d="M17 17h8v8h-8z" />
    </svg>
  );
}

function Tabs() {
  const at = route.value.view;
  const count = openCount.value;
  return (
    <nav class="tabs" aria-label={t("appName")}>
      <a href="#/new" aria-current={at === "new" ? "page" : undefined}>
        {t("tabNew")}
      </a>
      <a href="#/exports" aria-current={at === "new" ? undefined : "page"}>
        {t("tabExports")}
        {count > 0 && <span class="count">{count}</span>}
      </a>
    </nav>
  );
}

function Banner() {
  const now = health.value;
  return (
    <div role="status" class="banner-place">
      {now.state !== "well" && (
        <div class="banner">
          <p>{now.state === "away" ? t("serviceAway") : unready(now.reason)}</p>
          <button type="button" onClick={() => void askReadiness()}>
            {t("tryNow")}
          </button>
        </div>
      )}
    </div>
  );
}

function unready(reason: string): string {
  return /broker/i.test(reason) ? t("brokerAway") : t("serviceNotReady", { reason: apart(reason) });
}

function Notices() {
  return (
    <div class="notices" role="status" aria-live="polite">
      {notices.value.map((one) => (
        <div class={one.bad ? "notice bad" : "notice"} key={one.id}>
          <p>{one.text}</p>
          <button type="button" class="quiet square" aria-label={t("close")} onClick={() => dismiss(one.id)}>
            <Icon name="clear" />
          </button>
        </div>
      ))}
    </div>
  );
}
