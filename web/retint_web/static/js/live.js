// Pages that keep themselves true. htmx polls a fragment; this file makes the refresh unnoticeable:
// a card is replaced only when its job has moved on, and a lost connection is said once and repaired by itself.

const gallery = () => document.getElementById("gallery");

/** Tell the server which cards may still change, and from where on new ones are missing. */
document.body.addEventListener("htmx:configRequest", ({ detail }) => {
  detail.headers["X-CSRFToken"] = document.querySelector("meta[name=csrf-token]").content;
  if (!detail.elt.hasAttribute("data-follows-gallery") || !gallery()) return;
  const cards = [...gallery().querySelectorAll(".card")];
  detail.parameters.open = cards.filter((card) => card.hasAttribute("data-open")).map((card) => card.dataset.job).join(",");
  detail.parameters.last = cards.at(-1)?.dataset.job ?? "";
  detail.parameters.room = Math.max(0, Number(gallery().dataset.limit) - cards.length);
});

/** Replace a card only when its job has moved on, and then with its picture ready to be shown. */
document.body.addEventListener("htmx:oobBeforeSwap", ({ detail }) => {
  const [now, next] = [detail.target, detail.fragment.firstElementChild];
  if (!now?.dataset.version) return;
  detail.shouldSwap = false;
  if (now.dataset.version === next.dataset.version) return;
  const [shown, coming] = [now.querySelector("img"), next.querySelector("img")];
  const replace = () => {
    const had = now.contains(document.activeElement);
    now.replaceWith(next);
    if (had) next.querySelector("a").focus({ preventScroll: true });
  };
  if (!coming) return replace();
  if (shown?.src === coming.src) { coming.replaceWith(shown); return replace(); }
  coming.loading = "eager";
  coming.decode().then(replace, replace);
});

/** A page nobody looks at asks for nothing. */
document.body.addEventListener("htmx:beforeRequest", (event) => {
  if (document.hidden && event.detail.requestConfig.verb === "get") event.preventDefault();
});

/** The session ended while the page was open: let the person sign in, not read a sign-in form inside a fragment. */
document.body.addEventListener("htmx:beforeSwap", ({ detail }) => {
  if (new URL(detail.xhr.responseURL, location.href).pathname.startsWith("/sign-in")) {
    detail.shouldSwap = false;
    location.reload();
  }
});

/** A lost connection is said when it lasts; a request that dies because the person moves on says nothing. */
const offline = document.querySelector(".offline");
let alarm;
const lost = () => { alarm ??= setTimeout(() => { offline.hidden = false; }, 1500); };
const found = () => { clearTimeout(alarm); alarm = undefined; offline.hidden = true; };
document.body.addEventListener("htmx:sendError", lost);
document.body.addEventListener("htmx:responseError", lost);
document.body.addEventListener("htmx:afterOnLoad", ({ detail }) => { if (detail.successful) found(); });

// Steppers: − and + around a number.
document.addEventListener("click", ({ target }) => {
  const button = target.closest("[data-step]");
  if (!button) return;
  const input = button.parentElement.querySelector("input[type=number]");
  input.stepUp(Number(button.dataset.step));
});
