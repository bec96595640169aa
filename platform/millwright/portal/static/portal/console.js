// A machine's serial console: a ticket by POST, then a WebSocket whose first message is the ticket.
(() => {
  "use strict";
  const place = document.getElementById("console");
  if (!place || !window.Xterm) return;
  const words = place.dataset;
  const form = place.querySelector("[data-console-form]");
  const connect = place.querySelector("[data-connect]");
  const leave = place.querySelector("[data-leave]");
  const state = place.querySelector("[data-state]");
  const screen = place.querySelector("[data-screen]");
  // The server takes at most 64 KiB at once; a paste goes in pieces.
  const PIECE = 16 * 1024;
  let terminal = null;
  let socket = null;

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

  const say = (text, bad = false) => {
    state.textContent = text;
    state.classList.toggle("text-danger", bad);
  };

  const show = (open) => {
    connect.hidden = open;
    leave.hidden = !open;
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
    // Tab belongs to the machine, so there must be another way out for whoever has only a keyboard.
    terminal.attachCustomKeyEventHandler((event) => {
      if (!(event.ctrlKey && event.shiftKey && event.key === "Escape")) return true;
      if (event.type === "keydown") (leave.hidden ? connect : leave).focus();
      return false;
    });
    const send = (bytes) => {
      if (!socket || socket.readyState !== WebSocket.OPEN) return;
      for (let at = 0; at < bytes.length; at += PIECE) socket.send(bytes.subarray(at, at + PIECE));
    };
    const encoder = new TextEncoder();
    terminal.onData((text) => send(encoder.encode(text)));
    terminal.onBinary((text) => send(Uint8Array.from(text, (char) => char.charCodeAt(0))));
  };

  const ticket = async () => {
    const answer = await fetch(words.ask, { method: "POST", headers: { "Content-Type": "application/json", Accept: "application/json", "X-CSRFToken": form.querySelector("[name=csrfmiddlewaretoken]").value }, body: "{}" });
    const body = await answer.json();
    if (answer.ok) return body.ticket;
    throw new Error((body.errors || []).map((row) => row.message).join(" ") || body.detail || body.title);
  };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    connect.disabled = true;
    say(words.connecting);
    let secret;
    try {
      secret = await ticket();
    } catch (error) {
      say(error instanceof TypeError ? words.broken : error.message, true);
      connect.disabled = false;
      return;
    }
    let told = "";
    const address = new URL(words.live, window.location.href);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    const mine = new WebSocket(address);
    socket = mine;
    mine.binaryType = "arraybuffer";
    mine.addEventListener("open", () => mine.send(JSON.stringify({ ticket: secret })));
    mine.addEventListener("message", (message) => {
      if (typeof message.data !== "string") {
        terminal.write(new Uint8Array(message.data));
        return;
      }
      const body = JSON.parse(message.data);
      if (body.error) {
        told = body.error;
        return;
      }
      say(words.open);
      start();
      show(true);
      terminal.focus();
    });
    mine.addEventListener("close", (end) => {
      const reason = words[`end${end.reason.charAt(0).toUpperCase()}${end.reason.slice(1)}`];
      say([reason || words.broken, told].filter(Boolean).join(" "), end.reason !== "left");
      socket = null;
      connect.disabled = false;
      show(false);
      connect.focus();
    });
  });
  leave.addEventListener("click", () => {
    if (socket) socket.close(1000, "left");
  });
})();
