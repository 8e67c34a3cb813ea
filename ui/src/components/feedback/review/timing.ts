// Names under which the time from a submission to the next item is kept in the browser's performance timeline.
export const SUBMIT = "review.submit";
export const NEXT = "review.next";
