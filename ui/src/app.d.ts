// What SvelteKit and Vite add to the global types.
/// <reference types="@sveltejs/kit" />
/// <reference types="vite/client" />
export {};
