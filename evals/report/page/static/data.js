// Data files beside the page. Each calls plumbline(name, json): a browser that refuses to fetch from disk still runs
// a script. This file and the other scripts are joined into one function, in a fixed order.

const loaded = new Map(); // name -> value, or the promise of it
const arrived = new Map(); // name -> what to call when it has arrived
window.plumbline = (name, json) => {
  const value = JSON.parse(json);
  const done = arrived.get(name);
  arrived.delete(name);
  if (done) done(value);
};
const request = (name) => new Promise((resolve, reject) => {
  const script = document.createElement("script");
  arrived.set(name, (value) => { script.remove(); resolve(value); });
  script.onerror = () => { script.remove(); reject(new Error(`data/${name}.js is missing`)); };
  script.src = `data/${name}.js${name === "stamp" ? "?" + Date.now() : ""}`;
  document.head.append(script);
});
const load = (name) => {
  if (!loaded.has(name)) loaded.set(name, request(name));
  return loaded.get(name);
};
