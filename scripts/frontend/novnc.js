// The remote screen, as one module: its class RFB.
export { default as RFB } from "@novnc/novnc";
