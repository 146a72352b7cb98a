import react from '@vitejs/plugin-react';
import vue from '@vitejs/plugin-vue';
import { defineConfig } from 'vite';

// Two pages of one application: react/index.html, vue/index.html.
export default defineConfig({
  plugins: [react(), vue()],
  build: {
    outDir: 'public',
    emptyOutDir: false,
    rolldownOptions: { input: ['react/index.html', 'vue/index.html'] },
  },
});
