// A machine's screen: noVNC on the line of line.js, loaded when somebody connects.
(() => {
  "use strict";
  const place = document.getElementById("console");
  if (!place) return;
  const frame = place.querySelector("[data-screen]");
  let library = null;
  let viewer = null;

  const line = window.mwLine(place, {
    ready: async () => {
      library = library || (await import(place.dataset.library));
    },
    opened: (socket) => {
      frame.hidden = false;
      frame.replaceChildren();
      // It takes the open socket: the first bytes of the machine's side come after this task.
      viewer = new library.RFB(frame, socket, { shared: true });
      viewer.scaleViewport = true;
      viewer.showDotCursor = true;
      viewer.background = "#15181c";
      const canvas = frame.querySelector("canvas");
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", place.dataset.label);
      viewer.addEventListener("connect", () => {
        line.say(place.dataset.picture);
        viewer.focus();
      });
    },
    closed: () => {
      viewer = null;
      if (document.fullscreenElement) document.exitFullscreen();
      frame.hidden = true;
    },
  });

  // Before the viewer takes the keys.
  frame.addEventListener("keydown", (event) => {
    if (line.out(event)) event.stopPropagation();
  }, true);
  place.querySelector("[data-ctrl-alt-del]").addEventListener("click", () => {
    if (!viewer) return;
    viewer.sendCtrlAltDel();
    viewer.focus();
  });
  place.querySelector("[data-fullscreen]").addEventListener("click", async () => {
    if (!viewer) return;
    await frame.requestFullscreen();
    viewer.focus();
  });
})();
