// Passkeys: the one thing here that needs a script. A button of `data-passkey` asks its address for options, has the browser
// make or use a passkey, sends back what came, and goes where the answer says.

const ABC = { "+": "-", "/": "_", "=": "" };
const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/[+/=]/g, (char) => ABC[char]);
const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (char) => char.charCodeAt(0));

/** Sends `body` to `at`; gives what is answered, or throws why not, in a sentence. */
async function send(at, form, body) {
  const headers = { "content-type": "application/json" };
  const csrf = form.elements.namedItem("csrf");
  if (csrf) headers["x-linkflow-csrf"] = csrf.value;
  const response = await fetch(at, { method: "POST", headers, body: JSON.stringify(body) });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.detail ?? `The site answered ${response.status}.`);
  return answer;
}

/** What a form has under `name`. */
const typed = (form, name) => form.elements.namedItem(name)?.value ?? "";

async function make(at, form) {
  const { publicKey, handle } = await send(`${at}/options`, form, { who: typed(form, "name") });
  publicKey.challenge = bytes(publicKey.challenge);
  publicKey.user.id = bytes(publicKey.user.id);
  for (const held of publicKey.excludeCredentials) held.id = bytes(held.id);
  const { id, response } = await navigator.credentials.create({ publicKey });
  return send(at, form, {
    id, handle, who: typed(form, "name"), name: typed(form, "passkey"),
    client: text(response.clientDataJSON), attestation: text(response.attestationObject),
  });
}

async function use(at, form) {
  const { publicKey } = await send(`${at}/options`, form, {});
  publicKey.challenge = bytes(publicKey.challenge);
  const { id, response } = await navigator.credentials.get({ publicKey });
  return send(at, form, {
    id, next: typed(form, "next"),
    handle: text(response.userHandle ?? new ArrayBuffer(0)),
    client: text(response.clientDataJSON), authenticator: text(response.authenticatorData), signature: text(response.signature),
  });
}

/** What people read when the browser says no. */
function said(error) {
  switch (error.name) {
    case "NotAllowedError": return "The browser was not allowed to: it was called off, or took too long.";
    case "InvalidStateError": return "This device has a passkey for you already.";
    case "SecurityError": return "Passkeys do not work at this address.";
    default: return error.message;
  }
}

// An address of numbers can have no passkeys: WebAuthn asks for a name.
const named = !/^[\d.]+$|^\[/.test(location.hostname);

for (const button of document.querySelectorAll("[data-passkey]")) {
  const place = document.getElementById(button.dataset.said);
  for (const part of document.querySelectorAll(".with-passkey")) part.hidden = !(window.PublicKeyCredential && named);
  button.addEventListener("click", async () => {
    button.disabled = true;
    place.hidden = true;
    try {
      const done = await (button.dataset.passkey === "make" ? make : use)(button.dataset.at, button.form);
      location.assign(done.to);
    } catch (error) {
      place.textContent = said(error);
      place.hidden = false;
      button.disabled = false;
    }
  });
}
