"use strict";
/* The text of an element that holds it compressed and in base64. */
const unzip = (id) => {
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
};
if (!window.DecompressionStream) document.getElementById("problem").hidden = false;
