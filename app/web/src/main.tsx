// The page starts here.
import { render } from "preact";
import "./style.css";
import { keepDraft, layerId, layers, restoreDraft } from "./draft.ts";
import { keepEstimating } from "./estimate.ts";
import { followAgain } from "./feed.ts";
import { forgetExports, keepFollowing } from "./follow.ts";
import { announce } from "./notices.ts";
import { readRoute } from "./route.ts";
import { askReadiness, askSession, call, comebacks, keepLooking, type Layer, renewals, session } from "./service.ts";
import { t } from "./language.ts";
import { keepTheme } from "./theme.ts";
import { App } from "./views/app.tsx";

async function loadLayers(): Promise<void> {
  try {
    layers.value = await call<Layer[]>("GET", "/layers");
    // One that is not offered, of a link or of another day, is told by the form: no other takes its place.
    layerId.value ??= layers.value[0]?.id ?? null;
  } catch {
    // Told by the banner; asked again when the service is back or somebody has signed in.
  }
}

function askAllAgain(): void {
  renewals.value += 1;
  void loadLayers();
  followAgain();
}

keepTheme();
restoreDraft();
readRoute();
addEventListener("hashchange", readRoute);
keepDraft();
keepEstimating();
render(<App />, document.getElementById("page") as HTMLElement);

void askSession();
void askReadiness();
keepLooking();
void loadLayers();
keepFollowing();
let first = true;
comebacks.subscribe(() => {
  if (!first) {
    announce(t("serviceBack"));
    void askSession();
    askAllAgain();
  }
  first = false;
});
let client = session.value?.client;
session.subscribe((now) => {
  if (now?.client && client !== undefined && now.client !== client) {
    forgetExports();
    askAllAgain();
  }
  if (now) client = now.client;
});
