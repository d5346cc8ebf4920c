// Swagger UI on our own description; nothing of it asks an address outside.
import "./docs.css";

interface SwaggerWindow extends Window {
  SwaggerUIBundle(options: Record<string, unknown>): void;
}

// As on the page: as the device has it, or as somebody chose there.
const device = matchMedia("(prefers-color-scheme: dark)");
const shade = (): void => {
  const chosen = localStorage.getItem("theme");
  document.documentElement.classList.toggle("dark-mode", chosen === "dark" || (chosen !== "light" && device.matches));
};
device.addEventListener("change", shade);
// Chosen in another tab.
addEventListener("storage", shade);
shade();

(window as unknown as SwaggerWindow).SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#docs",
  onComplete: nameRegions,
  deepLinking: true,
  // The validator is a service on the web.
  validatorUrl: null,
  persistAuthorization: false,
  // Whatever name the service was opened under; the policy allows no other.
  requestInterceptor: (request: { url: string }) => {
    const { pathname, search } = new URL(request.url, location.href);
    return { ...request, url: pathname + search };
  },
});

/** Two parts of it stand outside its main landmark; screen readers find them by these names. */
function nameRegions(): void {
  for (const [part, name] of Object.entries({ ".information-container": "About", ".scheme-container": "Access" })) {
    const element = document.querySelector(part);
    element?.setAttribute("role", "region");
    element?.setAttribute("aria-label", name);
  }
}
