"""The public names as users write them; read by the type checkers, never run."""

from __future__ import annotations

from dataclasses import dataclass

from treadle import Completed, Engine, PipelineStatus, RetryBudget, RunReport, StageContext, Workflow, open_store, run


@dataclass
class Paper:
    id: str


papers: Workflow = Workflow("papers", item=Paper)


@papers.stage(retry=RetryBudget(max_attempts=3), timeout=5, after=[])
async def extract(paper: Paper, ctx: StageContext) -> str:
    ctx.record(tokens=1, usd=0.1, model="small")
    return paper.id


@papers.stage
def index(paper: Paper, extract: str) -> Completed:
    return Completed(len(extract))


plain: Completed = index(Paper("a"), "text")
report: RunReport = run(papers, [Paper("a")], store="memory:")


async def main() -> PipelineStatus:
    async with open_store("papers.db") as store, Engine(papers, store) as engine:
        await engine.approve("a", "index", reviewer="ann")
        return await engine.advance(Paper("a"))
