// Before anything is drawn: the reader's choice of dark or light, if there is one.
(() => {
  let chosen = null;
  try { chosen = localStorage.getItem("theme"); } catch { /* no storage: the system decides */ }
  if (chosen) document.documentElement.dataset.theme = chosen;
})();
