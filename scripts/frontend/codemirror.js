// What our pages use of CodeMirror, as one classic script: the global CodeMirror.
export { EditorState, Compartment, StateEffect, StateField } from "@codemirror/state";
export {
  EditorView, keymap, lineNumbers, highlightActiveLine, highlightActiveLineGutter,
  highlightSpecialChars, drawSelection, Decoration,
} from "@codemirror/view";
export { defaultKeymap, history, historyKeymap, indentMore, indentLess } from "@codemirror/commands";
export {
  StreamLanguage, HighlightStyle, syntaxHighlighting, bracketMatching, indentUnit, foldGutter, foldKeymap,
} from "@codemirror/language";
export { linter, lintGutter, lintKeymap, setDiagnostics, forceLinting } from "@codemirror/lint";
export { autocompletion, completionKeymap, completeFromList, closeBrackets } from "@codemirror/autocomplete";
export { searchKeymap, search, highlightSelectionMatches } from "@codemirror/search";
export { tags } from "@lezer/highlight";
