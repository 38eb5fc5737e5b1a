/**
 * What a process prints when it ends, as data: one record a form of message. A record is tried only on lines that contain its
 * keyword, so a log without such words costs one search for each keyword.
 */
import type { JobEnd, JobReason } from '../../model/job.ts';

export interface JobSignature {
  readonly ended: JobEnd;
  /** Null where the message does not say why. */
  readonly reason: JobReason | null;
  /** Text that each such line contains, in this case. */
  readonly keyword: string;
  /** What the whole line has to match; linear in its length. Lines are cut at 2,000 characters. */
  readonly pattern: RegExp;
  /** Another program repeats what the failed one said (a launcher's summary): it never outranks the first message. */
  readonly summary?: true;
}

const crashed = (reason: JobReason, keyword: string, pattern: RegExp): JobSignature => ({
  ended: 'crashed',
  reason,
  keyword,
  pattern,
});
const killed = (reason: JobReason, keyword: string, pattern: RegExp): JobSignature => ({
  ended: 'killed',
  reason,
  keyword,
  pattern,
});

/** More specific forms first: the first that matches names a line. */
export const JOB_SIGNATURES: readonly JobSignature[] = [
  // The kernel and the schedulers, which end a process from outside.
  killed('out-of-memory', 'Out of memory: Kill', /\bOut of memory: Kill(?:ed)? process \d/),
  killed('out-of-memory', 'oom-kill', /\b(?:oom-kill event|oom-kill:|oom_kill)/i),
  killed('out-of-memory', 'OOMKilled', /\bOOMKilled\b/),
  killed('out-of-memory', 'OOM Killer', /\bOOM Killer\b/),
  killed('out-of-memory', 'Out Of Memory', /^srun: error: [^:]{1,200}: [^:]{1,100}: Out Of Memory$/),
  killed('out-of-memory', 'exceeded memory limit', /\bexceeded memory limit\b/),
  killed('time-limit', 'DUE TO TIME LIMIT', /\bDUE TO TIME LIMIT\b/),
  killed('time-limit', 'CPU time limit exceeded', /\bCPU time limit exceeded\b/),
  killed('time-limit', 'TERM_RUNLIMIT', /\bTERM_RUNLIMIT\b/),
  killed('time-limit', 'job killed: walltime', /\bjob killed: walltime \d+ exceeded limit/),
  killed('time-limit', 'maximum execution time', /has exceeded the maximum execution time of /),
  killed('time-limit', 'DeadlineExceeded', /\bDeadlineExceeded\b/),
  killed('preempted', 'DUE TO PREEMPTION', /\bDUE TO PREEMPTION\b/),
  killed('preempted', 'TERM_PREEMPT', /\bTERM_PREEMPT\b/),
  killed('preempted', 'nterruption notice', /\b(?:spot|preemption) (?:instance )?interruption notice\b/i),
  killed('preempted', 'was preempted', /\b(?:job|node|instance|vm|worker|task)\b.{0,60} was preempted\b/i),
  killed('signal', 'DUE TO NODE FAILURE', /\bDUE TO NODE FAILURE\b/),
  killed('signal', 'CANCELLED AT', /\bslurmstepd: error: \*\*\* (?:JOB|STEP) [^*:]{1,200} CANCELLED AT /),
  // What the program itself says.
  crashed('disk-full', 'No space left on device', /(?:^|[^\w])No space left on device\b/),
  crashed('disk-full', 'Disk quota exceeded', /\bDisk quota exceeded\b/),
  crashed(
    'out-of-memory',
    'out of memory',
    /\b(?:CUDA|HIP|MPS backend|XPU|NPU|GPU \d+)(?: error:)? out of memory\b/,
  ),
  crashed('out-of-memory', 'OutOfMemoryError', /OutOfMemoryError: /),
  crashed(
    'out-of-memory',
    'RESOURCE_EXHAUSTED',
    /\bRESOURCE_EXHAUSTED: [^:]{0,300}(?:[Oo]ut of memory|allocat)/,
  ),
  crashed('out-of-memory', 'OOM when allocating', /\bOOM when allocating tensor\b/),
  crashed('out-of-memory', 'Out of memory error on GPU', /\bOut of memory error on GPU \d/),
  crashed('out-of-memory', '_ALLOC_FAILED', /\bCU(?:BLAS|DNN)_STATUS_ALLOC_FAILED\b/),
  crashed('out-of-memory', "can't allocate memory", /\bcan't allocate memory\b/),
  crashed('out-of-memory', 'Cannot allocate memory', /\bCannot allocate memory\b/),
  crashed('out-of-memory', 'bad_alloc', /\bstd::bad_alloc\b/),
  crashed('out-of-memory', 'MemoryError', /(?:^|\s)(?:[\w.]+\.)?_?(?:Array)?MemoryError(?::|$)/),
  crashed('collective-timeout', 'collective operation timeout', /\bcaught collective operation timeout\b/),
  crashed('collective-timeout', 'have failed or timed out', /\boperations? have failed or timed out\b/),
  crashed('collective-timeout', 'before timing out', /\bran for \d+ milliseconds before timing out\b/),
  crashed('collective-timeout', 'Timed out waiting', /\bTimed out waiting \d+ ?ms for (?:recv|send)/),
  crashed('collective-timeout', 'monitoredBarrier', /\bfailed to pass monitoredBarrier\b/),
  // Forms that only repeat that a process is gone.
  {
    ended: 'crashed',
    reason: 'exception',
    keyword: 'ChildFailedError',
    pattern: /\bChildFailedError\b/,
    summary: true,
  },
  {
    ended: 'crashed',
    reason: 'exception',
    keyword: 'ProcessRaisedException',
    pattern: /\bProcessRaisedException\b/,
    summary: true,
  },
  {
    ended: 'killed',
    reason: 'signal',
    keyword: 'Signal ',
    pattern: /\bSignal (?:9|15) \(SIG(?:KILL|TERM)\) received by PID \d/,
    summary: true,
  },
  {
    ended: 'crashed',
    reason: 'exception',
    keyword: 'Exited with exit code',
    pattern: /^srun: error: [^:]{1,200}: [^:]{1,100}: Exited with exit code [1-9]/,
    summary: true,
  },
  killed('signal', 'is killed by signal', /\bis killed by signal: \w/),
  killed('signal', 'got signal', /\bProcess \d+ got signal: (?:9|15)\b/),
  killed('signal', ': Killed', /^srun: error: [^:]{1,200}: [^:]{1,100}: Killed$/),
  killed('signal', 'Killed', /^(?:[^:]{1,300}: line \d{1,9}: {1,4}\d{1,9} Killed |Killed(?:: 9)?$)/),
  killed(
    'signal',
    'Terminated',
    /^(?:[^:]{1,300}: line \d{1,9}: {1,4}\d{1,9} Terminated |Terminated(?:: 15)?$)/,
  ),
  killed('signal', 'KeyboardInterrupt', /(?:^|\s)KeyboardInterrupt(?::.*)?$/),
  killed('signal', 'code 137', /\bexit(?:ed with)? (?:status|code) 137\b/),
  killed('signal', 'code 143', /\bexit(?:ed with)? (?:status|code) 143\b/),
  crashed('signal', 'Segmentation fault', /\bSegmentation fault\b/),
  crashed('signal', 'Bus error', /\bBus error\b/),
  crashed('signal', 'Aborted', /^(?:[^:]{1,300}: line \d{1,9}: {1,4}\d{1,9} Aborted |Aborted(?:: 6)?$)/),
  crashed('signal', 'Fatal Python error', /\bFatal Python error: /),
  // The end that everybody wants.
  { ended: 'completed', reason: null, keyword: 'train_runtime', pattern: /['"]train_runtime['"]: / },
  {
    ended: 'completed',
    reason: null,
    keyword: '`Trainer.fit` stopped',
    pattern: /`Trainer\.fit` stopped: `max_\w+=[^`]*` reached/,
  },
  ...['complete', 'finished', 'done', 'ended'].map(
    (word): JobSignature => ({
      ended: 'completed',
      reason: null,
      keyword: `raining ${word}`,
      pattern: /(?:^|[^\w ] ?)[Tt]raining (?:completed?|finished|done|ended)[.!]*\s*$/,
    }),
  ),
];

/** The last line of a Python traceback begins with the class of the exception. */
export const EXCEPTION_NAME = /^([A-Za-z_][\w.]{0,200})(?::\s|$)/;
/** What such a class is called; any class of a module may be one. */
export const EXCEPTION_CLASS =
  /(?:Error|Exception|Interrupt|Exit|Failure|Failed|Timeout|Warning|Iteration|Killed|Group)$|\.[A-Z]\w*$/;
export const TRACEBACK = 'Traceback (most recent call last)';
/** A call in a traceback: its file, line and function. */
export const CALL = /^\s{0,20}File "([^"]{1,400})", line (\d{1,7})(?:, in (.{1,80}))?/;
/** The first call of an exception that nothing caught: that of a program, a thread or a process. What `main` catches ends it, too. */
export const OUTERMOST = /^(?:<module>|_run_module_as_main|main|_bootstrap\w*|_wrap|_worker_loop)(?!\w)/;
/** Files of installed packages, of Python and of what has no file. */
export const INSTALLED = /(?:^|[\\/])(?:site|dist)-packages[\\/]|[\\/]lib[\\/]python\d|^</i;

/** Ranks as launchers and libraries print them, before or within a message. */
export const RANK_FORMS: readonly RegExp[] = [
  /\bRank (\d{1,6}) failed to pass\b/,
  /^\[?(?:rank|default)[ :_]?(\d{1,6})\]?[:|\]]/i,
  /\[Rank (\d{1,6})\]/,
  /\b(?:global_)?rank ?[:=] ?(\d{1,6})\b/i,
  /\[rank(\d{1,6})\]/i,
  /\bsrun: error: \S+: tasks? (\d{1,6})\b/,
  /^ ?(\d{1,5}): /,
];

/** A launcher that says which rank failed first. */
export const FIRST_FAILURE = { keyword: 'Root Cause', rank: /\brank\s*: (\d{1,6})\b/ };

/** A checkpoint that training goes on from. */
export const RESUMED_FROM = {
  // The longer the shortest keyword of all, the fewer bytes of a log are looked at.
  keywords: [
    'esuming',
    'esumed',
    'estoring',
    'estored',
    'ontinuing training',
    'oading checkpoint',
    'oaded checkpoint',
  ],
  pattern:
    /\b(?:[Rr]esum(?:ing|ed)|[Cc]ontinuing|[Rr]estor(?:ing|ed)|[Ll]oad(?:ing|ed))\b.{0,60}?\b(?:checkpoint|training|run|state|weights)?.{0,20}?\bfrom:? (?:checkpoint:? )?['"`]?([^\s'"`,]{3,300})/,
  /** Words that are said where training goes on, and not where weights are loaded for an evaluation. */
  goesOn: /\b(?:[Rr]esum(?:ing|ed)|[Cc]ontinuing training)\b/,
};
