// The photo page: the slider between before and after, two film players in step, and deep zoom.

for (const figure of document.querySelectorAll(".compare")) {
  figure.style.setProperty("--ratio", figure.dataset.width / figure.dataset.height);
  figure.classList.add("live");
}

for (const slider of document.querySelectorAll(".compare input")) {
  const figure = slider.parentElement;
  const [left, right] = [".tag.left", ".tag.right"].map((tag) => figure.querySelector(tag));
  const show = () => {
    const before = Math.round(slider.value);
    figure.style.setProperty("--at", `${slider.value}%`);
    left.style.opacity = before > 12 ? 1 : 0;
    right.style.opacity = before < 88 ? 1 : 0;
    slider.setAttribute("aria-valuetext", `${before} % before, ${100 - before} % after`);
  };
  slider.addEventListener("input", show);
  show();
}

// A film has two players, before and after. Each follows what the other one does, so that they stay in step.

const players = [...document.querySelectorAll(".players video")];
const MAX_DRIFT_S = 0.12;

for (const player of players) {
  const others = players.filter((each) => each !== player);
  player.addEventListener("play", () => others.forEach((other) => { if (other.paused) other.play().catch(() => {}); }));
  player.addEventListener("pause", () => others.forEach((other) => { if (!player.ended && !other.paused) { other.pause(); sync(player, other, 0); } }));
  player.addEventListener("ratechange", () => others.forEach((other) => { other.playbackRate = player.playbackRate; }));
  player.addEventListener("seeked", () => others.forEach((other) => sync(player, other)));
  if ("leads" in player.dataset) player.addEventListener("timeupdate", () => others.forEach((other) => sync(player, other)));
}

/** Seek `other` to the time of `player` if they differ visibly. */
function sync(player, other, maxDrift = MAX_DRIFT_S) {
  const time = Math.min(player.currentTime, other.duration || Infinity);
  if (!other.seeking && !player.seeking && Math.abs(time - other.currentTime) > maxDrift) other.currentTime = time;
}

/** Load a script. OpenSeadragon is loaded only when it is first needed. */
const loadScript = (address) =>
  new Promise((resolve, reject) => {
    const script = Object.assign(document.createElement("script"), { src: address, onload: resolve, onerror: reject });
    document.head.append(script);
  });

const dialog = document.querySelector("dialog.closer");
let viewer;

async function openDeepZoom() {
  dialog.showModal();
  if (viewer) return;
  const picture = dialog.querySelector(".picture");
  if (!window.OpenSeadragon) await loadScript(dialog.dataset.library);
  viewer = window.OpenSeadragon({
    element: picture,
    tileSources: dialog.dataset.tiles || { type: "image", url: dialog.dataset.image },
    drawer: "canvas",
    showNavigationControl: false,
    maxZoomPixelRatio: 4,
    visibilityRatio: 0.6,
    constrainDuringPan: true,
    animationTime: matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 0.8,
    gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
  });
  viewer.addHandler("open", () => { picture.dataset.ready = "true"; });
  viewer.addHandler("tile-drawn", () => { picture.dataset.drawn = "true"; });
  viewer.canvas.focus();
}

const actions = {
  zoomIn: () => viewer?.viewport.zoomBy(1.6).applyConstraints(),
  zoomOut: () => viewer?.viewport.zoomBy(1 / 1.6).applyConstraints(),
  fit: () => viewer?.viewport.goHome(),
  close: () => dialog.close(),
};

if (dialog) {
  const button = document.querySelector("[data-look]");
  button.hidden = false;
  button.addEventListener("click", openDeepZoom);
  dialog.addEventListener("click", ({ target }) => actions[target.closest("[data-act]")?.dataset.act]?.());
}
