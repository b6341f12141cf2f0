"""Which class of work a request is. Pure."""

from helexa.protocol.dialects.openai import RequestHead
from helexa.protocol.workload import Operation, WorkloadClass


def workload_class(head: RequestHead) -> WorkloadClass:
    """Return the class that a request is scheduled as; plain completions count as chat."""
    if head.operation is Operation.EMBEDDINGS:
        return WorkloadClass.EMBEDDING
    return WorkloadClass.VISION_CAPTION if head.vision else WorkloadClass.CHAT_INTERACTIVE
