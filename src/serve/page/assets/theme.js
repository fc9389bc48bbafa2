// The theme that was chosen, before anything is drawn.
"use strict";

try {
  const chosen = localStorage.getItem("theme");
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
} catch { /* Without storage it is as the system has it. */ }
