// Live pages: at most four streams of one browser at a time, those of the pages that are looked at.
//
// A browser keeps six connections to a server. Six open live pages would take them all, and the next page would
// load for ever. A hidden page lets its stream go; of the visible ones those have one that were looked at last,
// and the others say that they are not up to date. Web Locks are what the pages of one browser share.
(() => {
  "use strict";
  const SLOTS = 4;

  // What the htmx extension takes for an EventSource.
  class LiveStream {
    constructor(url) {
      this.url = url;
      this.listeners = [];
      this.source = null;
      this.ended = false;
      this.turn = 0;
      this.slot = null;
      this.onopen = this.onerror = null;
      this.seen = () => (document.hidden ? this.rest() : this.begin(document.hasFocus()));
      this.gone = () => this.rest();
      document.addEventListener("visibilitychange", this.seen);
      window.addEventListener("focus", this.seen);
      window.addEventListener("pageshow", this.seen);
      window.addEventListener("pagehide", this.gone);
      if (!document.hidden) this.begin(document.hasFocus());
    }

    get readyState() {
      if (this.ended) return EventSource.CLOSED;
      return this.source ? this.source.readyState : EventSource.CONNECTING;
    }

    addEventListener(name, listener) {
      this.listeners.push([name, listener]);
      this.source?.addEventListener(name, listener);
    }

    removeEventListener(name, listener) {
      this.listeners = this.listeners.filter((row) => row[0] !== name || row[1] !== listener);
      this.source?.removeEventListener(name, listener);
    }

    close() {
      this.ended = true;
      document.removeEventListener("visibilitychange", this.seen);
      window.removeEventListener("focus", this.seen);
      window.removeEventListener("pageshow", this.seen);
      window.removeEventListener("pagehide", this.gone);
      this.rest();
    }

    // Take a slot and open; where none is free, take one away if this page has the focus, else wait for one.
    async begin(mayTake) {
      if (this.ended || this.source) return;
      const turn = this.next();
      if (!navigator.locks) return this.open();
      for (let slot = 0; slot < SLOTS; slot += 1) {
        if (await this.hold(turn, slot, { ifAvailable: true })) return;
        if (turn !== this.turn) return;
      }
      if (mayTake) return this.hold(turn, Math.floor(Math.random() * SLOTS), { steal: true });
      this.waiting = new AbortController();
      const { signal } = this.waiting;
      // Whichever comes first; `open` ends the waiting for the others.
      for (let slot = 0; slot < SLOTS; slot += 1) this.hold(turn, slot, { signal });
    }

    // Whether the slot was had. It is given back when the stream rests, and may be taken away.
    hold(turn, slot, how) {
      return new Promise((resolve) => {
        const held = (lock) => {
          const mine = Boolean(lock) && turn === this.turn && !this.source && !this.ended;
          resolve(mine);
          if (!mine) return undefined;
          this.slot = slot;
          this.open();
          return new Promise((release) => (this.release = release));
        };
        navigator.locks.request(`mw-stream-${slot}`, how, held).catch(() => {
          resolve(false);
          // Waiting ended, or the slot was taken away.
          if (turn !== this.turn || slot !== this.slot) return;
          this.rest();
          this.begin(false);
        });
      });
    }

    // Whatever was under way before is over.
    next() {
      this.waiting?.abort();
      this.waiting = null;
      this.turn += 1;
      return this.turn;
    }

    open() {
      this.waiting?.abort();
      this.waiting = null;
      this.source = new EventSource(this.url, { withCredentials: true });
      for (const [name, listener] of this.listeners) this.source.addEventListener(name, listener);
      this.source.onopen = (event) => this.onopen?.(event);
      this.source.onerror = (event) => {
        // For good: whoever listens makes a new stream.
        if (this.source?.readyState === EventSource.CLOSED) this.close();
        else this.onerror?.(event);
        if (this.ended) this.onerror?.(event);
      };
    }

    // Without a stream for now: what stands there grows old, and looks it.
    rest() {
      this.next();
      this.release?.();
      this.release = null;
      this.slot = null;
      if (!this.source) return;
      this.source.close();
      this.source = null;
      if (!this.ended) this.onerror?.(new Event("error"));
    }
  }

  htmx.createEventSource = (url) => new LiveStream(url);
})();
