"""
The graph of research: plan, then search, read and analyse for each question at once, then report.

State holds the number of questions; everything else stands with the steps.
"""

from typing import Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import Send

from lab.workflows.research.analyse import analyse
from lab.workflows.research.context import ResearchContext
from lab.workflows.research.gather import check_searches, gather, search
from lab.workflows.research.plan import plan
from lab.workflows.research.synthesise import synthesise
from lab.workflows.research.verify import verify

NAME = "research"


class State(TypedDict, total=False):
    """What steps hand on."""

    n_questions: int


class OfQuestion(TypedDict):
    """What the steps of one question are given."""

    place: int


Run = Runtime[ResearchContext]


async def plan_node(state: State, runtime: Run) -> State:
    """Plan."""
    return {"n_questions": len(await plan(runtime.context))}


async def search_node(state: OfQuestion, runtime: Run) -> State:
    """Search for one question."""
    await search(runtime.context, state["place"])
    return {}


async def searched_node(state: State, runtime: Run) -> State:
    """Wait for all searches."""
    await check_searches(runtime.context)
    return {}


async def gather_node(state: OfQuestion, runtime: Run) -> State:
    """Read for one question."""
    await gather(runtime.context, state["place"])
    return {}


async def gathered_node(state: State, runtime: Run) -> State:
    """Wait until all is read: a question may have found what is read for another."""
    return {}


async def analyse_node(state: OfQuestion, runtime: Run) -> State:
    """Analyse one question."""
    await analyse(runtime.context, state["place"])
    return {}


async def synthesise_node(state: State, runtime: Run) -> State:
    """Write the report."""
    await synthesise(runtime.context)
    return {}


async def verify_node(state: State, runtime: Run) -> State:
    """Verify it."""
    await verify(runtime.context)
    return {}


def build_graph() -> StateGraph[Any, ResearchContext]:
    """Return the graph, not compiled."""
    graph = StateGraph(State, context_schema=ResearchContext)
    graph.add_node("plan", plan_node)
    graph.add_node("search", search_node, input_schema=OfQuestion)
    graph.add_node("searched", searched_node)
    graph.add_node("gather", gather_node, input_schema=OfQuestion)
    graph.add_node("gathered", gathered_node)
    graph.add_node("analyse", analyse_node, input_schema=OfQuestion)
    graph.add_node("synthesise", synthesise_node)
    graph.add_node("verify", verify_node)
    graph.add_edge(START, "plan")
    graph.add_conditional_edges("plan", _each("search"), ["search"])
    graph.add_edge("search", "searched")
    graph.add_conditional_edges("searched", _each("gather"), ["gather"])
    graph.add_edge("gather", "gathered")
    graph.add_conditional_edges("gathered", _each("analyse"), ["analyse"])
    graph.add_edge("analyse", "synthesise")
    graph.add_edge("synthesise", "verify")
    graph.add_edge("verify", END)
    return graph


def _each(node: str) -> Any:
    """Return what sends every question to a node, at once."""

    def send(state: State) -> list[Send]:
        return [Send(node, {"place": place}) for place in range(state["n_questions"])]

    return send
