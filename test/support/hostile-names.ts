/** Names that try to be more than text, somewhere: markup, commands, escapes, wrong characters. */
export const HOSTILE_NAMES: readonly string[] = [
  '<script>window.pwned=1</script>',
  '"><img src=x onerror=window.pwned=1>',
  "' onmouseover='window.pwned=1",
  '</script><script>window.pwned=1</script>',
  '<svg/onload=window.pwned=1>',
  '<!--<script>window.pwned=1//-->',
  'javascript:window.pwned=1',
  '{{constructor.constructor("window.pwned=1")()}}',
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the payload
  '${window.pwned=1}',
  '\u001b[2J\u001b]0;pwned\u0007',
  'a\u202eb\u2066c\u200bd',
  '::error file=a,line=1::pwned',
  'x\n::set-output name=a::pwned',
  '%0A::warning::pwned',
  '[pwned](javascript:window.pwned=1) ![x](https://pwned.invalid/x.png)',
  '| a | b |\n|---|---|\n`code` **bold** @someone #1',
  ']]></failure><failure>',
  '&lt;b&gt;&#60;&amp;"\'',
  '__proto__',
  '\u0000\ud800\ufffe\udfff\u0085',
];
