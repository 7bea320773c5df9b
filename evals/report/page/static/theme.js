// Light or dark, before anything is drawn. Where a page may keep nothing, the system decides.
"use strict";
try {
  const kept = localStorage.getItem("plumbline-theme");
  if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
} catch { /* storage is closed to this page */ }
