// Sets light or dark before anything is drawn. Without storage, the setting of the system is used.
"use strict";
try {
  const kept = localStorage.getItem("plumbline-theme");
  if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
} catch { /* this page may not use storage */ }
