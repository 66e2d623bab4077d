// Extras of the dashboard: pages that renew themselves, and keys. Everything works without.
"use strict";
(() => {
  let source = null, due = false, busy = false;
  const lost = document.createElement("p");
  lost.className = "lost";
  lost.setAttribute("role", "status");
  lost.hidden = true;
  lost.textContent = "LinkFlow does not answer; what is shown may be old.";
  document.querySelector("main").before(lost);

  // Swaps the regions that changed, but for one that somebody is typing in.
  async function renew() {
    if (busy) { due = true; return; }
    busy = true;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" } });
      if (answer.ok && !answer.redirected) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        for (const old of document.querySelectorAll("[data-live]")) {
          const fresh = page.getElementById(old.id);
          if (!fresh || fresh.innerHTML === old.innerHTML) continue;
          const focus = document.activeElement;
          const within = old.contains(focus) ? focus : null;
          if (within && within.matches("input,textarea,select")) continue;
          const open = [...old.querySelectorAll("details")].map((one) => one.open);
          old.innerHTML = fresh.innerHTML;
          old.querySelectorAll("details").forEach((one, i) => { one.open = open[i] ?? one.open; });
          if (within && within.href) {
            [...old.querySelectorAll("a")].find((a) => a.href === within.href)?.focus();
          }
        }
        document.title = page.title;
      }
    } catch { /* The stream says when it is lost. */ }
    busy = false;
    if (due) { due = false; setTimeout(renew, 300); }
  }

  function listen() {
    if (source || !document.querySelector("[data-live]")) return;
    source = new EventSource("/events/stream");
    source.addEventListener("change", renew);
    source.addEventListener("reload", () => location.reload());
    source.onopen = () => { lost.hidden = true; };
    source.onerror = () => { lost.hidden = false; };
  }

  // A browser keeps few connections to one host: only the page that is seen has one.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { source?.close(); source = null; } else { listen(); renew(); }
  });
  if (!document.hidden) listen();

  // A field that can be copied has a button beside it, which is seen only here, where it does something.
  document.documentElement.classList.add("scripted");
  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("button[data-copy]");
    const field = button && document.getElementById(button.dataset.copy);
    if (!field) return;
    let done = true;
    try { await navigator.clipboard.writeText(field.value); } catch {
      // Without HTTPS a page may only copy what is selected.
      field.select();
      done = document.execCommand("copy");
    }
    const said = document.getElementById("copied");
    if (said) said.textContent = done ? `${field.getAttribute("aria-label")}: copied` : "It could not be copied: select it by hand.";
  });

  const go = { o: "/", r: "/routes", m: "/monitors", i: "/incidents", l: "/releases", e: "/events", w: "/maintenance", u: "/usage", c: "/certificates", a: "/addresses", n: "/alerts", d: "/drift", s: "/search" };
  let first = "";
  const help = document.getElementById("help");
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input,textarea,select")) return;
    if (first === "g" && go[event.key]) { location.href = go[event.key]; }
    else if (event.key === "/") {
      const field = document.querySelector("input[type=search]");
      if (field) field.focus(); else location.href = "/search";
      event.preventDefault();
    } else if (event.key === "?" && help) { help.open ? help.close() : help.showModal(); }
    first = event.key;
  });
})();
