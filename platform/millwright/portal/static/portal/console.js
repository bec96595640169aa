// A machine's serial console: a terminal on the line of line.js.
(() => {
  "use strict";
  const place = document.getElementById("console");
  if (!place || !window.Xterm) return;
  const screen = place.querySelector("[data-screen]");
  // The server takes at most 64 KiB at once; a paste goes in pieces.
  const PIECE = 16 * 1024;
  let terminal = null;

  // The terminal writes style elements and style attributes, which the content security policy forbids:
  // the rules go into constructed sheets, the attributes through the object model.
  const make = document.createElement.bind(document);
  document.createElement = (name, options) => {
    if (String(name).toLowerCase() !== "style") return make(name, options);
    const element = make("mw-style", options);
    const sheet = new CSSStyleSheet();
    document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
    Object.defineProperty(element, "textContent", { get: () => "", set: (text) => sheet.replaceSync(text) });
    Object.defineProperty(element, "sheet", { get: () => sheet });
    element.remove = () => {
      document.adoptedStyleSheets = document.adoptedStyleSheets.filter((each) => each !== sheet);
      Element.prototype.remove.call(element);
    };
    return element;
  };
  const setAttribute = Element.prototype.setAttribute;
  Element.prototype.setAttribute = function (name, value) {
    if (name === "style" && this instanceof HTMLElement) this.style.cssText = value;
    else setAttribute.call(this, name, value);
  };

  const start = () => {
    if (terminal) return;
    screen.hidden = false;
    terminal = new window.Xterm.Terminal({ screenReaderMode: true, cursorBlink: false, scrollback: 2000, fontSize: 14, theme: { background: "#15181c", foreground: "#e6e9ed" } });
    const fit = new window.Xterm.FitAddon();
    terminal.loadAddon(fit);
    terminal.open(screen);
    fit.fit();
    window.addEventListener("resize", () => fit.fit());
    terminal.attachCustomKeyEventHandler((event) => !line.out(event));
    const send = (bytes) => {
      const socket = line.socket();
      if (!socket || socket.readyState !== WebSocket.OPEN) return;
      for (let at = 0; at < bytes.length; at += PIECE) socket.send(bytes.subarray(at, at + PIECE));
    };
    const encoder = new TextEncoder();
    terminal.onData((text) => send(encoder.encode(text)));
    terminal.onBinary((text) => send(Uint8Array.from(text, (char) => char.charCodeAt(0))));
  };

  const line = window.mwLine(place, {
    opened: () => {
      start();
      terminal.focus();
    },
    bytes: (data) => terminal.write(data),
  });
})();
