// The theme, set before anything is painted, so that a dark page does not flash white. A classic script: modules come later.
"use strict";

{
  const KEY = "status-gateway-theme";
  let kept = null;
  try {
    kept = localStorage.getItem(KEY);
  } catch {
    // storage is forbidden here: the system's theme it is
  }
  if (kept === "light" || kept === "dark") document.documentElement.dataset["theme"] = kept;
}
