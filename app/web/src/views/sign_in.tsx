// Signing in with a token: it goes into a cookie that no script can read.
import { useSignal } from "@preact/signals";
import { t } from "../language.ts";
import { call, Fault, inPlainWords, type Session, session, sessionHasEnded, signInWanted } from "../service.ts";
import { Dialog } from "./dialog.tsx";

export function SignIn() {
  const token = useSignal("");
  const fault = useSignal("");
  const busy = useSignal(false);

  const send = async (event: Event): Promise<void> => {
    event.preventDefault();
    if (busy.value) return;
    busy.value = true;
    try {
      session.value = await call<Session>("POST", "/session", { token: token.value.trim() });
      signInWanted.value = false;
      sessionHasEnded.value = false;
    } catch (error) {
      const refused = error instanceof Fault && (error.status === 401 || error.status === 403 || error.status === 400);
      fault.value = refused ? t("tokenWrong", { reason: error.reason }) : inPlainWords(error);
    } finally {
      busy.value = false;
    }
  };

  return (
    <Dialog label={t("signIn")} onClose={() => (signInWanted.value = false)}>
      <form class="stack" onSubmit={send}>
        <h2>{t("signIn")}</h2>
        {sessionHasEnded.value && <p>{t("sessionEnded")}</p>}
        <label class="field">
          <span>{t("token")}</span>
          <input
            type="password"
            autocomplete="current-password"
            spellcheck={false}
            dir="ltr"
            required
            value={token.value}
            aria-describedby="token-hint"
            onInput={(event) => (token.value = event.currentTarget.value)}
          />
        </label>
        <p class="hint" id="token-hint">
          {t("tokenHint")}
        </p>
        <p class="fault" role="alert">
          {fault.value}
        </p>
        <div class="row end">
          <button type="button" onClick={() => (signInWanted.value = false)}>
            {t("cancel")}
          </button>
          <button class="primary" aria-disabled={busy.value}>
            {t("signIn")}
          </button>
        </div>
      </form>
    </Dialog>
  );
}

export function SignOut() {
  const now = session.value;
  if (!now?.authRequired) return null;
  if (now.client === null) {
    return (
      <span class="who">
        <button type="button" class="quiet" onClick={() => (signInWanted.value = true)}>
          {t("signIn")}
        </button>
      </span>
    );
  }
  const leave = async (): Promise<void> => {
    await call("DELETE", "/session").catch(() => undefined);
    session.value = { client: null, administrator: false, authRequired: true };
    sessionHasEnded.value = false;
    signInWanted.value = true;
  };
  return (
    <span class="who">
      <span title={t("signedInAs", { client: now.client })}>{now.client}</span>
      <button type="button" class="quiet" onClick={() => void leave()}>
        {t("signOut")}
      </button>
    </span>
  );
}
