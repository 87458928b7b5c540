"use strict";

// Scores and distances: the chosen figures and tables are shown, the others hidden.
for (const kind of ["score", "distance"]) {
  const choice = document.getElementById(kind);
  if (!choice) continue;
  const show = () => {
    for (const node of document.querySelectorAll(`[data-${kind}]`)) node.hidden = node.dataset[kind] !== choice.value;
  };
  choice.addEventListener("change", show);
  show();
}

// Legend: pressed entries stand out, in all charts of their group.
for (const legend of document.querySelectorAll(".legend")) {
  const charts = legend.nextElementSibling;
  const buttons = [...legend.querySelectorAll("button")];
  legend.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
    const pressed = new Set(buttons.filter((b) => b.getAttribute("aria-pressed") === "true").map((b) => b.dataset.key));
    const known = new Set(buttons.map((b) => b.dataset.key));
    for (const series of charts.querySelectorAll(".series")) {
      const key = series.dataset.key;
      series.classList.toggle("faded", pressed.size > 0 && known.has(key) && !pressed.has(key));
    }
  });
}

// Panels: one slider for both sides, one selector for each.
const data = document.getElementById("panel-data");
if (data) {
  const { steps, places, pictures } = JSON.parse(data.textContent);
  const slider = document.getElementById("step");
  const shown = document.getElementById("step-shown");
  const layout = document.getElementById("layout");
  const sides = [...document.querySelectorAll(".panel")];

  const draw = () => {
    const step = steps[Number(slider.value)];
    shown.textContent = `step ${step}`;
    slider.setAttribute("aria-valuetext", `step ${step}`);
    for (const side of sides) {
      const chosen = side.querySelector("select").selectedOptions[0];
      const index = places[chosen.dataset.run]?.[chosen.dataset.variant]?.[step];
      const picture = side.querySelector("img");
      const absent = side.querySelector(".empty");
      const words = `${chosen.textContent} at step ${step}`;
      picture.hidden = index === undefined;
      absent.hidden = index !== undefined;
      if (index === undefined) {
        absent.textContent = `No panel of ${words}.`;
        picture.removeAttribute("src");
        picture.alt = "";
      } else {
        picture.src = pictures[index];
        picture.alt = `Observations, truth, reconstruction and error with the weights ${words}`;
      }
    }
  };
  slider.addEventListener("input", draw);
  for (const side of sides) side.querySelector("select").addEventListener("change", draw);
  layout.addEventListener("change", () => { document.getElementById("pair").className = layout.value; });
  draw();
}
