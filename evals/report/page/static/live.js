// The button of the theme, and the reload of the page while its run is still running.

const theme = at("theme");
if (theme) {
  const THEMES = { "": "as the system", light: "light", dark: "dark" };
  const order = Object.keys(THEMES);
  const show = () => { theme.textContent = `Theme: ${THEMES[root.dataset.theme || ""]}`; };
  theme.hidden = false;
  show();
  theme.addEventListener("click", () => {
    const next = order[(order.indexOf(root.dataset.theme || "") + 1) % order.length];
    if (next) root.dataset.theme = next;
    else delete root.dataset.theme;
    try { localStorage.setItem("plumbline-theme", next); } catch { /* this page may not use storage */ }
    show();
  });
}

if (document.querySelector("main[data-running]") || location.protocol.startsWith("http")) {
  const look = async () => {
    let stamp = root.dataset.stamp;
    try { stamp = await request("stamp"); } catch { /* the file is being replaced, or the server has stopped */ }
    const typing = document.activeElement && document.activeElement.tagName === "INPUT";
    if (stamp !== root.dataset.stamp && !typing) location.reload();
    else setTimeout(look, 5000);
  };
  if (root.dataset.stamp) setTimeout(look, 5000);
}
