// The terminal, as one classic script: the global Xterm.
export { Terminal } from "@xterm/xterm";
export { FitAddon } from "@xterm/addon-fit";
