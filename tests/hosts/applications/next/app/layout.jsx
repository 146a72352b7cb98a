// A Next application with a component of the server around the editor, at /orders/7.
export default function Layout({ children }) {
  return (
    <html lang="en">
      <body>{children}</body>
    </html>
  );
}
