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

// Where the network guesses: a veil over the result, and what it means, loaded when they are first asked for.

const guesses = document.querySelector("[data-guesses]");
const wantsVeil = guesses?.querySelector("input");

if (guesses) {
  const legend = document.querySelector("#guesses");
  const veil = document.querySelector(".guesses image");
  guesses.hidden = false;
  wantsVeil.addEventListener("change", async () => {
    if (!wantsVeil.checked || veil.hasAttribute("href")) return;
    const answer = await fetch(guesses.dataset.legend).catch(() => null);
    if (answer?.ok) {
      legend.innerHTML = await answer.text();
      veil.setAttribute("href", guesses.dataset.guesses);
    } else {
      legend.textContent = "This could not be loaded. Switch it off and on to try again.";
    }
  });
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

// The preview is shown at once. The server makes the tiles of the full size when they are first asked for; as soon as
// they are there, they lie over the preview.

const dialog = document.querySelector("dialog.closer");
const LONGEST_PAUSE_MS = 10_000;
const GIVE_UP_MS = 300_000;
let viewer;
let wantsTiles = Boolean(dialog?.dataset.tiles);

async function openDeepZoom() {
  dialog.showModal();
  if (!window.OpenSeadragon) await loadScript(dialog.dataset.library);
  if (!viewer) openPreview();
  showVeil();
  if (wantsTiles) waitForTiles();
}

function openPreview() {
  const picture = dialog.querySelector(".picture");
  viewer = window.OpenSeadragon({
    element: picture,
    tileSources: { type: "image", url: dialog.dataset.image },
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

/** Lay the veil over the picture, where the page shows it, too. */
function showVeil() {
  const isWanted = Boolean(wantsVeil?.checked);
  const caption = dialog.querySelector("[data-veil]");
  if (caption) caption.hidden = !isWanted;
  viewer.veil?.setOpacity(isWanted ? 1 : 0);
  if (!isWanted || viewer.veil) return;
  const { x, y, width } = document.querySelector(".guesses image");
  const { width: across, height: down } = document.querySelector(".compare").dataset;
  viewer.addSimpleImage({
    url: guesses.dataset.guesses,
    x: x.baseVal.value,
    y: (y.baseVal.value * down) / across,
    width: width.baseVal.value,
    success: ({ item }) => { viewer.veil = item; },
  });
}

/** Ask for the tiles, ever less often, until they are there or the dialog is closed. */
async function waitForTiles() {
  const status = dialog.querySelector("[role=status]");
  const began = Date.now();
  let pause = 1000;
  wantsTiles = false;
  status.textContent = "";
  while (dialog.open) {
    const answer = await fetch(dialog.dataset.tiles).catch(() => null);
    // Without an answer, or while a part of the server is away, it is worth asking again.
    if (answer && answer.status !== 202 && answer.status < 500) {
      status.textContent = "";
      if (answer.ok) addTiles();
      return;
    }
    if (Date.now() - began > GIVE_UP_MS) {
      status.textContent = "The full zoom is not ready yet.";
      break;
    }
    status.textContent = "Preparing full zoom …";
    await new Promise((resolve) => setTimeout(resolve, pause));
    pause = Math.min(1.5 * pause, LONGEST_PAUSE_MS);
  }
  wantsTiles = true;
}

/** Lay the tiles over the preview, below a veil; seen when all that the view needs are loaded, so that nothing blurs. */
function addTiles() {
  viewer.addTiledImage({
    tileSource: dialog.dataset.tiles,
    index: 1,
    width: 1,
    opacity: 0,
    preload: true,
    success: ({ item }) => {
      const show = () => {
        item.setOpacity(1);
        dialog.querySelector(".picture").dataset.full = "true";
      };
      if (item.getFullyLoaded()) show();
      else item.addOnceHandler("fully-loaded-change", show);
    },
  });
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
