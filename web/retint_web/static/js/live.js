// Pages that update themselves. htmx polls a fragment; this file keeps the page calm while it does:
// a card is replaced only when its job has changed, and a lost connection is reported once, until it is back.

const gallery = () => document.getElementById("gallery");

/** Send which cards may still change and which card is the last, so that the server returns only those and new ones. */
document.body.addEventListener("htmx:configRequest", ({ detail }) => {
  detail.headers["X-CSRFToken"] = document.querySelector("meta[name=csrf-token]").content;
  if (!detail.elt.hasAttribute("data-follows-gallery") || !gallery()) return;
  const cards = [...gallery().querySelectorAll(".card")];
  detail.parameters.open = cards.filter((card) => card.hasAttribute("data-open")).map((card) => card.dataset.job).join(",");
  detail.parameters.last = cards.at(-1)?.dataset.job ?? "";
  detail.parameters.room = Math.max(0, Number(gallery().dataset.limit) - cards.length);
});

/** Replace a card only when its job has changed, and only after its picture is decoded. */
document.body.addEventListener("htmx:oobBeforeSwap", ({ detail }) => {
  const [current, next] = [detail.target, detail.fragment.firstElementChild];
  if (!current?.dataset.version) return;
  detail.shouldSwap = false;
  if (current.dataset.version === next.dataset.version) return;
  const [image, nextImage] = [current.querySelector("img"), next.querySelector("img")];
  const replace = () => {
    const hadFocus = current.contains(document.activeElement);
    current.replaceWith(next);
    if (hadFocus) next.querySelector("a").focus({ preventScroll: true });
  };
  if (!nextImage) return replace();
  if (image?.src === nextImage.src) { nextImage.replaceWith(image); return replace(); }
  nextImage.loading = "eager";
  nextImage.decode().then(replace, replace);
});

/** A page in a hidden tab does not poll. */
document.body.addEventListener("htmx:beforeRequest", (event) => {
  if (document.hidden && event.detail.requestConfig.verb === "get") event.preventDefault();
});

/** If the session has ended, reload the page, which leads to the sign-in page, instead of showing the form in a fragment. */
document.body.addEventListener("htmx:beforeSwap", ({ detail }) => {
  if (new URL(detail.xhr.responseURL, location.href).pathname.startsWith("/sign-in")) {
    detail.shouldSwap = false;
    location.reload();
  }
});

/** Report a lost connection only if it lasts: leaving the page also aborts requests. */
const offline = document.querySelector(".offline");
let timer;
const showOffline = () => { timer ??= setTimeout(() => { offline.hidden = false; }, 1500); };
const hideOffline = () => { clearTimeout(timer); timer = undefined; offline.hidden = true; };
document.body.addEventListener("htmx:sendError", showOffline);
document.body.addEventListener("htmx:responseError", showOffline);
document.body.addEventListener("htmx:afterOnLoad", ({ detail }) => { if (detail.successful) hideOffline(); });

// The buttons − and + beside a number.
document.addEventListener("click", ({ target }) => {
  const button = target.closest("[data-step]");
  if (!button) return;
  const input = button.parentElement.querySelector("input[type=number]");
  input.stepUp(Number(button.dataset.step));
});
