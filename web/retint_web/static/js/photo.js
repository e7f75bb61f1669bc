// The photo page: the slider between before and after, two film players in step, and deep zoom.

import { Closer } from "./closer.js";

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

// From close up, with the veil where the page shows it, too.

const dialog = document.querySelector("dialog.closer");

/** Lay the veil over the picture, where the page shows it, too. */
function showVeil({ viewer }) {
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

if (dialog) {
  const closer = new Closer(dialog);
  const button = document.querySelector("[data-look]");
  button.hidden = false;
  button.addEventListener("click", async () => {
    await closer.open();
    showVeil(closer);
  });
}
