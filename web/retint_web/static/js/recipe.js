// Show the value of each slider beside it.

for (const slider of document.querySelectorAll(".slide input")) {
  const output = slider.parentElement.querySelector("output");
  const show = () => { output.textContent = "percent" in slider.dataset ? `${Math.round(slider.value * 100)} %` : Number(slider.value); };
  slider.addEventListener("input", show);
  show();
}
