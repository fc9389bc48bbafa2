// What all pages have: the button of the theme, times in the reader's zone, the key that leads to the search.
"use strict";

(() => {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const shown = () => root.dataset.theme || (dark.matches ? "dark" : "light");
  const name = () => {
    const other = shown() === "dark" ? "light" : "dark";
    button.setAttribute("aria-label", `Use the ${other} theme`);
    button.title = button.getAttribute("aria-label");
  };
  name();
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = shown() === "dark" ? "light" : "dark";
    try { localStorage.setItem("theme", root.dataset.theme); } catch { /* It holds for this page alone. */ }
    name();
  });
  dark.addEventListener("change", name);
})();

(() => {
  const two = (number) => String(number).padStart(2, "0");
  // As it is written in UTC, in the reader's zone; the title says it in UTC.
  const local = (element) => {
    const time = new Date(element.dateTime);
    if (Number.isNaN(time.getTime())) return;
    const utc = element.title || element.textContent;
    const day = `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}`;
    const clock = `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
    const thousandths = String(time.getMilliseconds()).padStart(3, "0");
    element.textContent = { clock: `${clock}.${thousandths}`, minute: `${day} ${clock.slice(0, 5)}` }[element.dataset.local]
      || `${day} ${clock}.${thousandths}`;
    element.title = `${utc}, shown in your time zone`;
  };
  const all = (within) => within.querySelectorAll("time[data-local]").forEach(local);
  if (new Date().getTimezoneOffset() !== 0) all(document);
})();

document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target instanceof Element && event.target.closest("input, select, textarea, [contenteditable]")) return;
  event.preventDefault();
  const box = document.getElementById("q");
  if (box) {
    box.focus();
    box.select();
  } else {
    location.assign("/");
  }
});
