/** 32 bits as messages show them: a checksum. */
export const hex = (value: number): string => value.toString(16).padStart(8, '0');
