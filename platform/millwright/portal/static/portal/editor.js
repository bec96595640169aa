// The program editor: CodeMirror in place of each text field, the compiler's findings while one types.
(() => {
  "use strict";
  const form = document.querySelector("[data-editor]");
  if (!form || !window.CodeMirror) return;
  const CM = window.CodeMirror;
  const words = form.dataset;

  const KEYWORDS = new Set(("PROGRAM END_PROGRAM FUNCTION END_FUNCTION FUNCTION_BLOCK END_FUNCTION_BLOCK VAR VAR_INPUT VAR_OUTPUT VAR_IN_OUT VAR_GLOBAL VAR_EXTERNAL VAR_TEMP END_VAR CONSTANT RETAIN NON_RETAIN PERSISTENT AT TYPE END_TYPE STRUCT END_STRUCT ARRAY OF IF THEN ELSIF ELSE END_IF CASE END_CASE FOR TO BY DO END_FOR WHILE END_WHILE REPEAT UNTIL END_REPEAT RETURN EXIT CONTINUE AND OR XOR NOT MOD TRUE FALSE CONFIGURATION END_CONFIGURATION RESOURCE ON END_RESOURCE TASK WITH METHOD END_METHOD INTERFACE END_INTERFACE IMPLEMENTS EXTENDS THIS SUPER NULL REF_TO STEP END_STEP INITIAL_STEP TRANSITION END_TRANSITION ACTION END_ACTION FROM CLASS END_CLASS NAMESPACE END_NAMESPACE PUBLIC PRIVATE PROTECTED INTERNAL FINAL ABSTRACT OVERRIDE").split(" "));
  const TYPES = new Set("BOOL BYTE WORD DWORD LWORD SINT INT DINT LINT USINT UINT UDINT ULINT REAL LREAL TIME LTIME DATE LDATE TOD LTOD DT LDT TIME_OF_DAY DATE_AND_TIME STRING WSTRING CHAR WCHAR TON TOF TP R_TRIG F_TRIG CTU CTD CTUD SR RS".split(" "));
  const structuredText = CM.StreamLanguage.define({
    name: "st",
    startState: () => ({ comment: "" }),
    token(stream, state) {
      if (state.comment) {
        if (stream.skipTo(state.comment)) {
          stream.match(state.comment);
          state.comment = "";
        } else stream.skipToEnd();
        return "comment";
      }
      if (stream.eatSpace()) return null;
      if (stream.match("//")) { stream.skipToEnd(); return "comment"; }
      if (stream.match("(*")) { state.comment = "*)"; return "comment"; }
      if (stream.match("/*")) { state.comment = "*/"; return "comment"; }
      if (stream.match("{")) { stream.skipTo("}"); stream.next(); return "meta"; }
      if (stream.match(/^'(?:[^'$]|\$.)*'?/) || stream.match(/^"(?:[^"$]|\$.)*"?/)) return "string";
      if (stream.match(/^%[IQM][XBWDL]?\d+(\.\d+)*/i)) return "labelName";
      if (stream.match(/^(?:L?(?:TIME|TOD|DATE|DT|T|D)|TIME_OF_DAY|DATE_AND_TIME)#[-\w.:]+/i)) return "number";
      if (stream.match(/^\w+#[-\w.]+/) || stream.match(/^\d[\d_]*(\.\d[\d_]*)?([eE][-+]?\d+)?/)) return "number";
      if (stream.match(/^[A-Za-z_]\w*/)) {
        const word = stream.current().toUpperCase();
        return KEYWORDS.has(word) ? "keyword" : TYPES.has(word) ? "typeName" : "variableName";
      }
      if (stream.match(/^(:=|=>|<=|>=|<>|\*\*|[-+*/&<>=])/)) return "operator";
      stream.next();
      return null;
    },
    languageData: { commentTokens: { line: "//", block: { open: "(*", close: "*)" } }, closeBrackets: { brackets: ["(", "[", "'"] } },
  });
  const colours = CM.HighlightStyle.define([
    { tag: CM.tags.keyword, color: "var(--mw-st-keyword)", fontWeight: "600" },
    { tag: CM.tags.typeName, color: "var(--mw-st-type)" },
    { tag: CM.tags.comment, color: "var(--mw-st-comment)", fontStyle: "italic" },
    { tag: CM.tags.string, color: "var(--mw-st-string)" },
    { tag: CM.tags.number, color: "var(--mw-st-number)" },
    { tag: [CM.tags.labelName, CM.tags.meta], color: "var(--mw-st-address)" },
  ]);
  const look = CM.EditorView.theme({
    "&": { color: "inherit", backgroundColor: "transparent", fontSize: "0.875rem", height: "100%" },
    ".cm-scroller": { fontFamily: "var(--tblr-font-monospace)", lineHeight: "1.5" },
    ".cm-content": { caretColor: "currentColor" },
    ".cm-gutters": { backgroundColor: "transparent", color: "var(--mw-st-comment)", border: "0" },
    ".cm-activeLine": { backgroundColor: "var(--mw-line)" }, ".cm-activeLineGutter": { backgroundColor: "var(--mw-line)", color: "inherit" },
    "&.cm-focused .cm-selectionBackground, .cm-selectionBackground": { backgroundColor: "var(--mw-selection) !important" },
    ".cm-cursor": { borderLeftColor: "currentColor" },
    ".cm-tooltip, .cm-panels": { backgroundColor: "var(--tblr-bg-surface)", color: "var(--tblr-body-color)", border: "1px solid var(--tblr-border-color)" },
    ".cm-tooltip-autocomplete ul li[aria-selected]": { backgroundColor: "var(--tblr-primary)", color: "white" },
    ".cm-diagnostic": { fontFamily: "system-ui, sans-serif" },
  });

  const files = [];
  let symbols = [];
  const complete = (context) => {
    const word = context.matchBefore(/[\w.]+/);
    if (!word || (word.from === word.to && !context.explicit)) return null;
    const known = symbols.map((row) => ({ label: row.path.replace(/^[^.]*\./, ""), type: "variable", detail: row.type }));
    const plain = [...KEYWORDS].map((label) => ({ label, type: "keyword" })).concat([...TYPES].map((label) => ({ label, type: "type" })));
    return { from: word.from, options: known.concat(plain), validFor: /^[\w.]*$/ };
  };

  const list = document.getElementById("editor-files");
  const problems = document.getElementById("editor-problems");
  const verdict = document.getElementById("editor-verdict");
  let shown = null;

  const show = (file) => {
    shown = file;
    for (const each of files) {
      each.section.hidden = each !== file;
      each.tab.setAttribute("aria-selected", String(each === file));
      each.tab.tabIndex = each === file ? 0 : -1;
      each.tab.classList.toggle("active", each === file);
    }
    file.view.requestMeasure();
  };

  const adopt = (section) => {
    const field = section.querySelector("textarea");
    const path = section.querySelector("[name=path]");
    const host = document.createElement("div");
    host.className = "mw-editor";
    // In a tree of its own the editor's styles are constructed sheets, which the page's policy allows.
    const root = host.attachShadow({ mode: "open" });
    const inner = document.createElement("div");
    inner.style.height = "100%";
    root.append(inner);
    field.hidden = true;
    field.after(host);
    const file = { section, field, path };
    const isSt = path.value.endsWith(".st");
    file.view = new CM.EditorView({
      root,
      parent: inner,
      state: CM.EditorState.create({
        doc: field.value,
        extensions: [
          CM.lineNumbers(), CM.highlightActiveLine(), CM.highlightActiveLineGutter(), CM.highlightSpecialChars(), CM.history(), CM.drawSelection(),
          CM.bracketMatching(), CM.closeBrackets(), CM.search({ top: true }), CM.highlightSelectionMatches(), CM.lintGutter(),
          CM.EditorState.tabSize.of(4), CM.indentUnit.of("    "), CM.syntaxHighlighting(colours), look,
          ...(isSt ? [structuredText, CM.autocompletion({ override: [complete] })] : []),
          // Tab stays with the page (WCAG 2.1.2); Ctrl-] and Ctrl-[ indent.
          CM.keymap.of([...CM.defaultKeymap, ...CM.historyKeymap, ...CM.searchKeymap, ...CM.completionKeymap, ...CM.lintKeymap, { key: "Mod-s", run: () => { form.querySelector("[data-save]").click(); return true; } }]),
          CM.EditorView.contentAttributes.of({ "aria-label": path.value || words.newFile, tabindex: "0" }),
          CM.EditorView.updateListener.of((update) => {
            if (!update.docChanged) return;
            field.value = update.state.doc.toString();
            dirty = true;
            later();
          }),
        ],
      }),
    });
    file.tab = document.createElement("button");
    file.tab.type = "button";
    file.tab.className = "list-group-item list-group-item-action";
    file.tab.setAttribute("role", "tab");
    file.tab.textContent = path.value || words.newFile;
    file.tab.addEventListener("click", () => show(file));
    section.setAttribute("role", "tabpanel");
    section.setAttribute("aria-label", path.value || words.newFile);
    section.open = true;
    path.addEventListener("input", () => { file.tab.textContent = path.value || words.newFile; dirty = true; later(); });
    files.push(file);
    list.append(file.tab);
    return file;
  };

  list.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const next = files[(files.indexOf(shown) + step + files.length) % files.length];
    show(next);
    next.tab.focus();
  });

  let dirty = false;
  let timer = 0;
  let round = 0;
  const later = (wait = 600) => { clearTimeout(timer); timer = setTimeout(check, wait); };
  const check = async () => {
    const mine = ++round;
    verdict.textContent = words.checking;
    let answer;
    try {
      const data = new URLSearchParams();
      for (const [key, value] of new FormData(form)) if (typeof value === "string") data.append(key, value);
      const response = await fetch(words.check, { method: "POST", body: data, headers: { "X-CSRFToken": form.querySelector("[name=csrfmiddlewaretoken]").value } });
      if (!response.ok) throw new Error(String(response.status));
      answer = await response.json();
    } catch (error) {
      if (mine === round) verdict.textContent = `${words.failed} (${error.message})`;
      return;
    }
    if (mine !== round) return;
    if (answer.unavailable) {
      verdict.textContent = answer.unavailable;
      if (answer.busy) later(2000);
      return;
    }
    if (answer.symbols.length) symbols = answer.symbols;
    tell(answer);
  };
  const tell = (answer) => {
    const errors = answer.diagnostics.filter((row) => row.severity === "error").length;
    verdict.textContent = answer.ok ? words.fine : answer.error && !errors ? answer.error : words.errors.replace("#", errors);
    verdict.classList.remove("text-secondary");
    verdict.classList.toggle("text-success", answer.ok);
    verdict.classList.toggle("text-danger", !answer.ok);
    verdict.dataset.ok = String(answer.ok);
    problems.replaceChildren();
    for (const file of files) {
      const doc = file.view.state.doc;
      const found = answer.diagnostics.filter((row) => row.file === file.path.value);
      file.view.dispatch(CM.setDiagnostics(file.view.state, found.map((row) => {
        const line = doc.line(Math.min(Math.max(row.line, 1), doc.lines));
        const from = Math.min(line.from + Math.max(row.column - 1, 0), line.to);
        const word = /^\w+/.exec(doc.sliceString(from, line.to));
        return { from, to: Math.min(from + Math.max(word ? word[0].length : 1, 1), doc.length), severity: row.severity === "error" ? "error" : "warning", source: row.code, message: row.message + (row.hint ? `\n${row.hint}` : "") };
      })));
      file.tab.classList.toggle("mw-has-problem", found.length > 0);
    }
    for (const row of answer.diagnostics) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "list-group-item list-group-item-action text-start";
      const where = document.createElement("span");
      where.className = "text-secondary me-2";
      where.textContent = `${row.file}:${row.line}:${row.column}`;
      button.append(where, row.message);
      button.addEventListener("click", () => {
        const file = files.find((each) => each.path.value === row.file);
        if (!file) return;
        show(file);
        const line = file.view.state.doc.line(Math.min(Math.max(row.line, 1), file.view.state.doc.lines));
        file.view.dispatch({ selection: { anchor: Math.min(line.from + row.column - 1, line.to) }, scrollIntoView: true });
        file.view.focus();
      });
      problems.append(button);
    }
  };

  for (const section of form.querySelectorAll("[data-file]")) adopt(section);
  form.classList.add("mw-editing");
  list.hidden = false;
  show(files[0]);
  check();
  document.querySelector("[data-add-file]")?.addEventListener("click", () => {
    const section = form.querySelector("[data-file-template]").content.cloneNode(true).firstElementChild;
    files[files.length - 1].section.after(section);
    show(adopt(section));
    section.querySelector("[name=path]").focus();
  });
  form.addEventListener("click", (event) => {
    const button = event.target.closest("[data-remove-file]");
    if (!button || files.length < 2) return;
    const file = files.find((each) => each.section === button.closest("[data-file]"));
    files.splice(files.indexOf(file), 1);
    file.view.destroy();
    file.tab.remove();
    file.section.remove();
    dirty = true;
    show(files[0]);
    files[0].tab.focus();
    later(0);
  });
  form.querySelector("[name=project]")?.addEventListener("change", () => later(0));
  form.addEventListener("submit", () => { dirty = false; });
  window.addEventListener("beforeunload", (event) => { if (dirty) event.preventDefault(); });
})();
